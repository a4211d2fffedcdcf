"""The five words of a verdict, and what a shell or CI sees of them."""

from collections.abc import Iterable
from enum import StrEnum


class Word(StrEnum):
    SLOWER = "SLOWER"
    SAME = "SAME"
    FASTER = "FASTER"
    BROKEN = "BROKEN"
    INCONCLUSIVE = "INCONCLUSIVE"

    @property
    def exit_code(self) -> int:
        """0 where nothing got worse, else 10, 11 or 12."""
        return _EXIT_CODES.get(self, 0)

    @property
    def decided(self) -> bool:
        """More pairs would not be asked for."""
        return self is not Word.INCONCLUSIVE


_EXIT_CODES = {Word.SLOWER: 10, Word.BROKEN: 11, Word.INCONCLUSIVE: 12}
_GRAVEST_FIRST = (
    Word.BROKEN,
    Word.SLOWER,
    Word.INCONCLUSIVE,
    Word.FASTER,
    Word.SAME,
)


def gravest(words: Iterable[Word]) -> Word:
    """The one word for many cells; INCONCLUSIVE where there are none.

    All cells SAME says SAME without a correction for their number: every cell must
    pass its own test for it (Berger, Technometrics 1982: intersection-union).
    """
    found = set(words)
    return next((word for word in _GRAVEST_FIRST if word in found), Word.INCONCLUSIVE)
