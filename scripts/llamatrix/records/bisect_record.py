"""Records of a bisect: one commit of a range, as it was judged against the good end."""

from llamatrix.records.store import Envelope, RecordKind, keep_fields
from llamatrix.stats.bisection import Mark
from llamatrix.stats.verdict import Verdict


class BisectStep(Envelope, frozen=True, kw_only=True):
    search: str
    """Digest of the commits, of what is searched for and with what: it is one file."""
    series: int
    """From 1; `--again` begins another."""
    repository: str
    good: str
    """As the user named it …"""
    bad: str
    good_commit: str
    """… and what that was at the time."""
    bad_commit: str
    last: int
    """The position of the bad end; the good end has 0."""
    position: int
    commit: str
    about: str
    """Date and subject of the commit."""
    what: str
    """`speed`, or the check: `output` or `template`."""
    case: str = ""
    """The glob of the cell that the search follows, or the model of a check."""
    verdict: Verdict = Verdict.INCONCLUSIVE
    mark: Mark = Mark.SKIPPED
    reason: str = ""
    """Why it is skipped or broken, and what was left out to test it."""
    margin: float = 0.0
    """0 for a check."""
    ratio: float | None = None
    """Of its speed to the good end's …"""
    interval: tuple[float, float] | None = None
    """… with the interval that decided."""
    pairs: int = 0
    builds: int = 0
    """Compiled for this step, and not in the cache: the commit, or the good end too."""
    build_s: float = 0.0
    seconds: float = 0.0
    """Of the whole step."""

    @property
    def record_id(self) -> str:
        return f"{BISECT.folder}/{self.search}"


BISECT = RecordKind(
    folder="bisect", holds=BisectStep, migrations={1: keep_fields}, root="regress"
)
