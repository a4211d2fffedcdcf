"""Whether a model finds facts again in a full context: plant, ask, compare."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import msgspec

from llamatrix.web import NoAnswerError, Site, WrongAnswerError

_LINES = 4
"""Tokenized at a time."""
_TOWNS = ("Arvenholm", "Ostrava Quay", "Lindisfell", "Port Maren", "Tessaly", "Vik")
_GOODS = ("barley", "slate", "candles", "rope", "cider", "wool", "lamp oil")
_VERBS = ("received", "sent out", "counted", "weighed", "stored")
_ANSWER_TOKENS = 512
"""At most; of a small context a quarter."""
_TEMPLATE_TOKENS = 128
"""For what the chat template adds."""
_SHOWN_CHARACTERS = 500


def filler_line(number: int) -> str:
    """Return one line of a synthetic ledger, without its newline; no line repeats."""
    town = _TOWNS[number % len(_TOWNS)]
    goods = _GOODS[number * 3 % len(_GOODS)]
    verb = _VERBS[number * 7 % len(_VERBS)]
    crates = number * 37 % 911 + 3
    day = number * 11 % 365 + 1
    return f"Entry {number}: on day {day} {town} {verb} {crates} crates of {goods}."


class FillerText:
    """An endless text to fill a context with, as tokens of one server."""

    def __init__(self, tokenize: Callable[[str], Sequence[int]]) -> None:
        self.tokenize = tokenize
        self._tokens: list[int] = []
        self._block_sizes: list[int] = []
        """Tokens of each block of lines."""

    def tokens(self, count: int) -> list[int]:
        """Return the first tokens: those of a smaller count are a prefix of a larger."""
        while len(self._tokens) < count:
            first = len(self._block_sizes) * _LINES
            numbers = range(first, first + _LINES)
            text = "".join(f"{filler_line(number)}\n" for number in numbers)
            block = self.tokenize(text)
            self._tokens += block
            self._block_sizes.append(len(block))
        return self._tokens[:count]

    def lines(self, max_tokens: int) -> list[str]:
        """Return as many lines as certainly fit."""
        self.tokens(max_tokens)
        blocks = sum(size <= max_tokens for size in accumulate(self._block_sizes))
        return [filler_line(number) for number in range(blocks * _LINES)]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    depth_percent: int
    """Position in the text, from its beginning."""
    name: str
    word: str

    @property
    def sentence(self) -> str:
        return f"Remember: the code word of the {self.name} is {self.word}."


FACTS = (
    Fact(depth_percent=10, name="lighthouse", word="cobalt-heron"),
    Fact(depth_percent=50, name="observatory", word="velvet-anvil"),
    Fact(depth_percent=90, name="greenhouse", word="amber-comet"),
)


class FactResult(msgspec.Struct, frozen=True, kw_only=True):
    depth_percent: int
    exact: bool


class RecallResult(msgspec.Struct, frozen=True, kw_only=True):
    """One question over one full context."""

    context_tokens: int
    """The size that was to be filled, room for the answer included."""
    prompt_tokens: int | None
    """As the server counts them; None where it did not answer."""
    facts: tuple[FactResult, ...]
    said: str
    """The beginning of the answer, or why there is none."""

    @property
    def all_exact(self) -> bool:
        return all(fact.exact for fact in self.facts)


class _Message(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    message: _Message


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int


class _Answer(msgspec.Struct, frozen=True):
    choices: tuple[_Choice, ...]
    usage: _Usage


def recall(
    site: Site, filler: FillerText, *, context_tokens: int, timeout_s: float
) -> RecallResult:
    """Fill the context once and ask for all facts together."""
    answer_tokens = min(_ANSWER_TOKENS, context_tokens // 4)
    asked = filler.tokenize(recall_prompt([]))
    room = context_tokens - answer_tokens - _TEMPLATE_TOKENS - len(asked)
    prompt = recall_prompt(filler.lines(max(room, 0)))
    request = {
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": answer_tokens,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    text, prompt_tokens = "", None
    try:
        reply = site.post("/v1/chat/completions", request, timeout_s=timeout_s)
        answer = reply.read(_Answer)
    except (NoAnswerError, WrongAnswerError) as error:
        shown = str(error)
    else:
        text = "\n".join(choice.message.content or "" for choice in answer.choices)
        shown, prompt_tokens = text, answer.usage.prompt_tokens
    return RecallResult(
        context_tokens=context_tokens,
        prompt_tokens=prompt_tokens,
        facts=tuple(
            FactResult(depth_percent=fact.depth_percent, exact=is_exact(fact, text))
            for fact in FACTS
        ),
        said=shown[:_SHOWN_CHARACTERS],
    )


def recall_prompt(lines: Sequence[str]) -> str:
    """Return the lines with the facts among them and the question at the end."""
    placed = list(lines)
    for fact in sorted(FACTS, key=lambda fact: -fact.depth_percent):
        placed.insert(len(lines) * fact.depth_percent // 100, fact.sentence)
    names = ", ".join(fact.name for fact in FACTS)
    question = (
        f"What are the code words of these places: {names}? Answer with one line for "
        "each, in the form `place: code word`, and nothing else."
    )
    return "\n".join([*placed, "", question])


def is_exact(fact: Fact, answer: str) -> bool:
    """Return whether one line names the fact and nothing else; emphasis is ignored."""
    lines = answer.replace("*", "").replace("`", "").splitlines()
    return f"{fact.name}: {fact.word}" in {line.strip(" -.").lower() for line in lines}
