"""A synthetic vocabulary: one token per byte, the family's special tokens, filler, merges.

Without merges the token count of any prompt is its length in bytes (a special token
counts one), three to four times that of a real vocabulary. With a few thousand merges,
which only the Qwen family takes, it comes close; they are learned from a text by byte
pair encoding (Sennrich et al., ACL 2016: count the pairs inside words, join the most
frequent one, repeat).

Bytes outside printable ASCII are typed UNUSED: they are read, but written as nothing,
so that any output of a random model is valid UTF-8.
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import assert_never

from llamatrix.provision.weights.synthetic.models import Gemma4, Qwen35, Shape

Merge = tuple[str, str]
Word = tuple[str, ...]

_WORD = re.compile(r" ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]+\n*|\s*\n|\s+(?!\S)|\s+")
"""Near enough to the family's own pre-tokenizer, which applies when text is read."""


def learn_merges(text: str, count: int) -> tuple[Merge, ...]:
    """Learn at most `count` merges of printable ASCII, the most frequent first.

    Letters are those GPT-2 writes for bytes: a blank is U+0120, a line end U+010A. Of
    equally frequent pairs the first in the order of letters is taken, so that the same
    text gives the same merges.
    """
    plain = text.encode("ascii", "ignore").decode()
    words = Counter(tuple(map(_letter, word)) for word in _WORD.findall(plain))
    return _Learner(words).learn(count)


def _letter(character: str) -> str:
    return character if "!" <= character <= "~" else chr(256 + ord(character))


class _Learner:
    """Words as they are split so far, and the words that contain each pair of parts."""

    def __init__(self, words: Counter[Word]) -> None:
        self._words = dict(words)
        self._counts: Counter[Merge] = Counter()
        self._places: dict[Merge, set[Word]] = defaultdict(set)
        for word, times in words.items():
            self._enter(word, times)
        self._queue = [(-times, pair) for pair, times in self._counts.items()]
        heapq.heapify(self._queue)

    def learn(self, count: int) -> tuple[Merge, ...]:
        merges: list[Merge] = []
        while len(merges) < count and (pair := self._most_frequent()):
            merges.append(pair)
            changed = {pair}
            for word in list(self._places[pair]):
                times = self._leave(word)
                joined = tuple(_joined(word, pair))
                self._words[joined] = self._words.get(joined, 0) + times
                self._enter(joined, times)
                changed |= {*pairwise(word), *pairwise(joined)}
            for changed_pair in changed:
                heapq.heappush(self._queue, (-self._counts[changed_pair], changed_pair))
        return tuple(merges)

    def _most_frequent(self) -> Merge | None:
        """Return the first of the queue whose count is current, if it occurs twice."""
        while self._queue:
            times, pair = heapq.heappop(self._queue)
            if -times == self._counts[pair]:
                return pair if -times >= 2 else None  # noqa: PLR2004  once saves nothing
        return None

    def _enter(self, word: Word, times: int) -> None:
        for pair in pairwise(word):
            self._counts[pair] += times
            self._places[pair].add(word)

    def _leave(self, word: Word) -> int:
        times = self._words.pop(word)
        for pair in pairwise(word):
            self._counts[pair] -= times
            self._places[pair].discard(word)
        return times


def _joined(word: Word, pair: Merge) -> Iterable[str]:
    rest = iter(word)
    last = next(rest)
    for part in rest:
        if (last, part) == pair:
            last += part
        else:
            yield last
            last = part
    yield last


class TokenType(IntEnum):
    """As `tokenizer.ggml.token_type` numbers them."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_QWEN = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
_QWEN_FIRST = 248044
"""Ids run on from here: `<|im_end|>` 248046, padding 248055 and the ends 248063-248065
are those of the EOG list in AmesianX/TurboQuant#2."""

_GEMMA_CONTROL = {
    0: "<pad>",
    1: "<eos>",
    2: "<bos>",
    3: "<unk>",
    4: "<mask>",
    46: "<|tool>",
    47: "<tool|>",
    98: "<|think|>",
    105: "<|turn>",
    106: "<turn|>",
}
_GEMMA_USER_DEFINED = {
    48: "<|tool_call>",
    49: "<tool_call|>",
    50: "<|tool_response>",
    51: "<tool_response|>",
    52: '<|"|>',
    100: "<|channel>",
    101: "<channel|>",
}
"""Both tables are from llama.cpp's `ggml-vocab-gemma-4.gguf`, without images and sound."""

ENDS = frozenset({"<|endoftext|>", "<|im_end|>", "<eos>", "<turn|>"})
"""Tokens that may end a random answer. llama.cpp treats more texts as an end; with all of
them among a hundred letters, most answers would stop after a word."""


def special_tokens(shape: Shape) -> dict[int, tuple[str, TokenType]]:
    """Return text and type by id; in a small vocabulary Qwen's come last."""
    match shape:
        case Qwen35():
            first = min(_QWEN_FIRST, shape.vocabulary - len(_QWEN))
            return {
                token: (text, _qwen_type(text))
                for token, text in enumerate(_QWEN, start=first)
            }
        case Gemma4():
            return {
                **{i: (text, TokenType.CONTROL) for i, text in _GEMMA_CONTROL.items()},
                **{
                    i: (text, TokenType.USER_DEFINED)
                    for i, text in _GEMMA_USER_DEFINED.items()
                },
            }


def _qwen_type(text: str) -> TokenType:
    return TokenType.CONTROL if text.startswith("<|") else TokenType.USER_DEFINED


_TEXT_BYTES = frozenset(b"\t\n" + bytes(range(0x20, 0x7F)))
_BYTES = 256
_MOST_MERGES = 2000
"""In a vocabulary of published size; a small one has as many as it has room for."""
_SMALL_VOCABULARY = 4096
_GEMMA_FIRST_BYTE = 238
"""Id of `<0x00>` in the real vocabulary."""
_GEMMA_SPACE = "\N{LOWER ONE EIGHTH BLOCK}"
"""Gemma 4's tokenizers put this in the place of a blank before they look it up."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Vocabulary:
    tokens: tuple[str, ...]
    """Texts by id, all different."""
    types: tuple[TokenType, ...]
    bos: int
    eos: int
    padding: int


def vocabulary(shape: Shape, merges: Sequence[Merge] = ()) -> Vocabulary:
    """Return the tokens of a shape, with as many merges as there is room for."""
    specials = special_tokens(shape)
    ids = {text: token for token, (text, _) in specials.items()}
    match shape:
        case Qwen35():
            known = _merged(merges) | specials | _qwen_bytes()
            ends = ids["<|endoftext|>"], ids["<|im_end|>"], ids["<|vision_pad|>"]
        case Gemma4():
            known = specials | _gemma_bytes()
            ends = ids["<bos>"], ids["<eos>"], ids["<pad>"]
        case _:
            assert_never(shape)
    filler = TokenType.UNUSED
    rows = [known.get(i, (f"<filler{i}>", filler)) for i in range(shape.vocabulary)]
    bos, eos, padding = ends
    return Vocabulary(
        tokens=tuple(text for text, _ in rows),
        types=tuple(kind for _, kind in rows),
        bos=bos,
        eos=eos,
        padding=padding,
    )


def merges_of(shape: Shape, sample: str) -> tuple[Merge, ...]:
    """Learn a shape's merges from a text; none without a text, or for Gemma."""
    if not sample or isinstance(shape, Gemma4):
        return ()
    room = min(special_tokens(shape)) - _BYTES
    small = shape.vocabulary <= _SMALL_VOCABULARY
    return learn_merges(sample, room if small else _MOST_MERGES)


def silent_tokens(shape: Shape) -> tuple[int, ...]:
    """Return tokens that random output should not contain: their output weights are zero.

    Merges are among them: they are read, but never written. So is markup: a tool call
    that opens and never closes is an HTTP 500 from llama-server's parser. In a small
    vocabulary everything but text is silent, so that answers are text and end soon; in
    a large one that would zero nearly all of the output matrix.
    """
    if shape.vocabulary > _SMALL_VOCABULARY:
        known = special_tokens(shape)
        return tuple(sorted(i for i, (text, _) in known.items() if text not in ENDS))
    words = vocabulary(shape)
    return tuple(
        token
        for token, (text, kind) in enumerate(
            zip(words.tokens, words.types, strict=True)
        )
        if kind not in {TokenType.NORMAL, TokenType.BYTE} and text not in ENDS
    )


def _merged(merges: Sequence[Merge]) -> dict[int, tuple[str, TokenType]]:
    """Return the merges' results after the bytes; two merges may give the same text."""
    texts = dict.fromkeys("".join(pair) for pair in merges)
    return {
        token: (text, TokenType.NORMAL)
        for token, text in enumerate(texts, start=_BYTES)
    }


def _qwen_bytes() -> dict[int, tuple[str, TokenType]]:
    """Give each byte its value as id, and as text the letter GPT-2 writes for it."""
    own = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (byte for byte in range(256) if byte not in own)
    letters = {byte: chr(256 + place) for place, byte in enumerate(others)}
    return {
        byte: (
            letters.get(byte, chr(byte)),
            TokenType.NORMAL if byte in _TEXT_BYTES else TokenType.UNUSED,
        )
        for byte in range(256)
    }


def _gemma_bytes() -> dict[int, tuple[str, TokenType]]:
    """Return byte-fallback tokens at their real ids, followed by a blank."""
    known = {
        _GEMMA_FIRST_BYTE + byte: (
            f"<0x{byte:02X}>",
            TokenType.BYTE if byte in _TEXT_BYTES else TokenType.UNUSED,
        )
        for byte in range(256)
    }
    known[_GEMMA_FIRST_BYTE + 256] = (_GEMMA_SPACE, TokenType.NORMAL)
    return known
