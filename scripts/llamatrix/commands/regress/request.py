"""What a user asks of `invoke regress`, and on which cells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llamatrix.commands.regress.arms import Asked
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context, choose_profile
from llamatrix.config.expand import select_profile
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.measure.disturbances import TOLERATED_PERCENT
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.resolve_weights import with_known_weights
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

    def context_in(self, project: Project) -> Context:
        """Matrix, lock and profile, which is said with its reason.

        `engines` on a CPU, and full-sized made-up weights where a card holds them.
        """
        choice = choose_profile(self.profile or None)
        name = self.profile or ("engines" if choice.profile == "smoke" else "synthetic")
        matrix = load_matrix(project.matrix_file)
        about = select_profile(matrix, name).about
        say(f"profile {name} ({choice.reason}): {about}")
        return Context(
            project=project,
            matrix=matrix,
            lock=load_lock(project.lock_file),
            profile=name,
            weights_dir=self.weights_dir,
        )

    def with_known_weights(self, context: Context, cells: Sequence[Cell]) -> Context:
        """The context with what can be known of the cells' published weights."""
        return with_known_weights(context, cells, ask_hub=not self.dry_run)
