"""What must be known of a case to conduct it, however its processes measure."""

from typing import Protocol

from llamatrix.project import Project
from llamatrix.stats.pairs import Arm, Pair
from llamatrix.stats.verdict import Metric


class Paired(Protocol):
    """A case in one series: pairs of processes, and a number of each."""

    @property
    def series(self) -> int: ...
    @property
    def project(self) -> Project: ...
    @property
    def id(self) -> str: ...
    @property
    def metric(self) -> Metric: ...
    @property
    def pairs(self) -> tuple[Pair, ...]: ...
    def pairs_in(self, series: int) -> tuple[Pair, ...]: ...

    @property
    def process_s(self) -> float:
        """The mean wall time of this series' processes; 0 where none has run."""
        ...

    @property
    def session(self) -> str:
        """Cases of the same one share their processes, and differ by metric."""
        ...

    @property
    def work(self) -> str:
        """What one process does, in words."""
        ...

    @property
    def warm_values(self) -> list[float]: ...
    @property
    def failures(self) -> tuple[str, ...]:
        """How the last failure of each arm ended."""
        ...

    @property
    def spent_s(self) -> tuple[float, ...]:
        """Wall times of the processes that this run added."""
        ...

    @property
    def known(self) -> int:
        """How many processes there were before."""
        ...

    def warm(self, arm: Arm) -> float | None: ...
    def run_pair(self) -> object: ...
