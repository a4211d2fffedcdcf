"""What a user asks of `invoke regress --agent`."""

from dataclasses import dataclass
from pathlib import Path

from llamatrix.commands.regress.agent.arms import AskedAgent
from llamatrix.commands.regress.request import BUDGET_S
from llamatrix.stats.pairs import Arm

TRIALS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentRequest:
    asked: dict[Arm, AskedAgent]
    profile: str = ""
    cells: str = ""
    tasks: tuple[str, ...] = ()
    """Empty takes all of the profile's."""
    trials: int = TRIALS
    """Of each arm at each cell."""
    budget_s: float = BUDGET_S
    weights_dir: Path | None = None
    dry_run: bool = False
