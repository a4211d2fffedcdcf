"""Whether a model finds facts again in a full context: planted, asked for, compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import msgspec

from llamatrix.engines.llama_cpp.server import tokenize
from llamatrix.web import NoAnswerError, Site, WrongAnswerError

_TOKENIZE_TIMEOUT_S = 60.0
_LINES = 16
"""Cut into tokens at a time."""
_PLACES = ("Arvenholm", "Ostrava Quay", "Lindisfell", "Port Maren", "Tessaly", "Vik")
_GOODS = ("barley", "slate", "candles", "rope", "cider", "wool", "lamp oil")
_VERBS = ("received", "sent out", "counted", "weighed", "stored")


def line(number: int) -> str:
    """One line of a ledger, without its newline."""
    place = _PLACES[number % len(_PLACES)]
    goods = _GOODS[number * 3 % len(_GOODS)]
    verb = _VERBS[number * 7 % len(_VERBS)]
    crates = number * 37 % 911 + 3
    day = number * 11 % 365 + 1
    return f"Entry {number}: on day {day} {place} {verb} {crates} crates of {goods}."


class FillerText:
    """The text as one server cuts it into tokens."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._tokens: list[int] = []
        self._sizes: list[int] = []
        """Of each piece of lines, in tokens."""

    def tokens(self, count: int) -> list[int]:
        """The first tokens; those of a smaller count begin those of a larger one."""
        while len(self._tokens) < count:
            self._cut_more()
        return self._tokens[:count]

    def lines(self, most_tokens: int) -> list[str]:
        """As many lines as surely fit."""
        self.tokens(most_tokens)
        whole = sum(size <= most_tokens for size in accumulate(self._sizes))
        return [line(number) for number in range(whole * _LINES)]

    def _cut_more(self) -> None:
        first = len(self._sizes) * _LINES
        text = "".join(f"{line(one)}\n" for one in range(first, first + _LINES))
        found = tokenize(self._site, text, timeout_s=_TOKENIZE_TIMEOUT_S)
        self._tokens += found
        self._sizes.append(len(found))


_ANSWER_TOKENS = 512
_AROUND_TOKENS = 512
"""For the facts, the question and the chat template."""
_SAID_CHARACTERS = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Fact:
    depth_percent: int
    """Where in the text it stands, from its beginning."""
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
    """What was to be filled, room for the answer included."""
    prompt_tokens: int | None
    """What it came to, as the server counts; None where it did not answer."""
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
    """Ask for all facts at once: the context is filled one time."""
    room = context_tokens - _ANSWER_TOKENS - _AROUND_TOKENS
    request = {
        "messages": [{"role": "user", "content": text(filler.lines(max(room, 0)))}],
        "max_tokens": _ANSWER_TOKENS,
        "temperature": 0,
        "chat_template_kwargs": {"enable_thinking": False},
    }
    try:
        reply = site.post("/v1/chat/completions", request, timeout_s=timeout_s)
        answer = reply.read(_Answer)
    except (NoAnswerError, WrongAnswerError) as error:
        return _recalled(context_tokens, None, "", said=str(error))
    said = "\n".join(choice.message.content or "" for choice in answer.choices)
    return _recalled(context_tokens, answer.usage.prompt_tokens, said, said=said)


def text(lines: Sequence[str]) -> str:
    """The lines with the facts among them, and the question after them."""
    placed = list(lines)
    for fact in sorted(FACTS, key=lambda one: -one.depth_percent):
        placed.insert(len(lines) * fact.depth_percent // 100, fact.sentence)
    names = ", ".join(fact.name for fact in FACTS)
    question = (
        f"What are the code words of these places: {names}? Answer with one line for "
        "each, in the form `place: code word`, and nothing else."
    )
    return "\n".join([*placed, "", question])


def is_exact(fact: Fact, answer: str) -> bool:
    """Whether a line says it and nothing else; marks of emphasis do not count."""
    bare = answer.replace("*", "").replace("`", "").splitlines()
    return f"{fact.name}: {fact.word}" in {line.strip(" -.").lower() for line in bare}


def _recalled(
    context_tokens: int, prompt_tokens: int | None, answer: str, *, said: str
) -> RecallResult:
    return RecallResult(
        context_tokens=context_tokens,
        prompt_tokens=prompt_tokens,
        facts=tuple(
            FactResult(depth_percent=fact.depth_percent, exact=is_exact(fact, answer))
            for fact in FACTS
        ),
        said=said[:_SAID_CHARACTERS],
    )
