"""Merges for a made-up vocabulary: byte pair encoding, learned from a text.

With one token per byte an agent's prompt is three to four times as long as with a real
vocabulary. A few thousand merges bring it near (Sennrich et al., ACL 2016: count the
pairs inside words, join the most frequent one, again and again).
"""

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import pairwise

Merge = tuple[str, str]
Word = tuple[str, ...]

_WORD = re.compile(r" ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]+\n*|\s*\n|\s+(?!\S)|\s+")
"""Near enough to the family's own pre-tokenizer, which applies when text is read."""


def learn_merges(text: str, count: int) -> tuple[Merge, ...]:
    """At most so many merges of printable ASCII, most frequent first.

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
    """Words as they are split so far, and where each pair of parts stands."""

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
            for one in changed:
                heapq.heappush(self._queue, (-self._counts[one], one))
        return tuple(merges)

    def _most_frequent(self) -> Merge | None:
        """The first of the queue whose count is still true, if it stands twice."""
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
    held = next(rest)
    for part in rest:
        if (held, part) == pair:
            held += part
        else:
            yield held
            held = part
    yield held
