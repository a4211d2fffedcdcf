"""What a user asks of `invoke regress`, and on which cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.commands.choice import choose_profile
from llamatrix.commands.regress.arms import Asked
from llamatrix.commands.session import weights_known
from llamatrix.config.cell import Cell
from llamatrix.config.expand import select_profile
from llamatrix.config.lock import Lock
from llamatrix.config.matrix import Matrix
from llamatrix.measure.disturbances import TOLERATED_PERCENT
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.stats.pairs import Arm
from llamatrix.stats.sequential import SequentialTest
from llamatrix.stats.verdict import Metric

BUDGET_S = 1200.0
_PLANNED = SequentialTest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    asked: dict[Arm, Asked]
    profile: str = ""
    cells: str = ""
    metrics: tuple[Metric, ...] = ()
    """Empty takes all that are measured."""
    budget_s: float = BUDGET_S
    margin: float | None = None
    """None takes each metric's own."""
    weights_dir: Path | None = None
    replay: Path | None = None
    """The recording of a session to replay, in place of llama-bench."""
    sequential: SequentialTest = _PLANNED
    tolerated_percent: float = TOLERATED_PERCENT
    again: bool = False
    """Begin a new series instead of going on with the last one."""
    dry_run: bool = False

    def margin_of(self, metric: Metric) -> float:
        return metric.margin if self.margin is None else self.margin

    def profile_in(self, matrix: Matrix) -> str:
        """The profile, said with its reason.

        `engines` on a CPU, and full-sized made-up weights where a card holds them.
        """
        choice = choose_profile(self.profile or None)
        name = self.profile or ("engines" if choice.profile == "smoke" else "synthetic")
        about = select_profile(matrix, name).about
        say(f"profile {name} ({choice.reason}): {about}")
        return name

    def lock_for(
        self, matrix: Matrix, lock: Lock, cells: Sequence[Cell], project: Project
    ) -> Lock:
        """The lock with what can be told of the cells' published weights."""
        return weights_known(
            matrix,
            lock,
            cells,
            project,
            self.weights_dir,
            ask_hub=not self.dry_run,
        )
