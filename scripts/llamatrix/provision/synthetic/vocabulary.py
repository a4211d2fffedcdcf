"""A made-up vocabulary: one token per byte, the family's special tokens, filler.

Without merges the token count of any prompt is its length in bytes (a special token
counts one). With them, which only the Qwen family takes, words are a few tokens. Bytes
outside printable ASCII are typed UNUSED: they are read, but written as nothing, so
that whatever a random model says is valid UTF-8.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from llamatrix.provision.synthetic.hyperparameters import Gemma4, Qwen35, Shape
from llamatrix.provision.synthetic.merges import Merge, learn_merges
from llamatrix.provision.synthetic.specials import ENDS, TokenType, special_tokens

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
    """The tokens of a shape; as many of the merges as there is room for."""
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
    """What is learned of a text for a shape; none without a text, or for Gemma."""
    if not sample or isinstance(shape, Gemma4):
        return ()
    room = min(special_tokens(shape)) - _BYTES
    small = shape.vocabulary <= _SMALL_VOCABULARY
    return learn_merges(sample, room if small else _MOST_MERGES)


def silent_tokens(shape: Shape) -> tuple[int, ...]:
    """Tokens that random output should not contain: their output weights are zero.

    Merges are among them: they are read, but never written. Markup always: a tool call
    that opens and never closes is an HTTP 500 from llama-server's parser. In a small
    vocabulary all that is no text, too, so that text is mostly what comes, and the end
    of it soon; in a large one that would turn nearly all of the output matrix into
    zeros.
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
    """The merges' results after the bytes; two merges may give the same text."""
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
    """Byte-fallback tokens at their real ids, and a blank of its own after them."""
    known = {
        _GEMMA_FIRST_BYTE + byte: (
            f"<0x{byte:02X}>",
            TokenType.BYTE if byte in _TEXT_BYTES else TokenType.UNUSED,
        )
        for byte in range(256)
    }
    known[_GEMMA_FIRST_BYTE + 256] = (_GEMMA_SPACE, TokenType.NORMAL)
    return known
