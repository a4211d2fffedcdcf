"""Text without end to fill a context with: dull, always the same, no line twice."""

from itertools import accumulate

from llamatrix.engines.llama_cpp.tokens import tokenize
from llamatrix.web import Site

_TIMEOUT_S = 60.0
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


class Filler:
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
        found = tokenize(self._site, text, timeout_s=_TIMEOUT_S)
        self._tokens += found
        self._sizes.append(len(found))
