"""The outcome of a trial, turn by turn. It is data; none of it is raised."""

from msgspec import Struct

from llamatrix.agents.turn_outcome import NotRun, TurnOutcome
from llamatrix.proxy.call import CallTimes
from llamatrix.proxy.totals import Totals
from llamatrix.proxy.wire_api import Breakdown
from llamatrix.trials.checks.finding import Judgement
from llamatrix.trials.checks.quality import Quality
from llamatrix.trials.checks.tdd import TddOrder


class Correct(Struct, frozen=True, kw_only=True, tag="correct"):
    """Every check passed."""

    turn: int
    """The number of the prompt, from 1."""


class Incorrect(Struct, frozen=True, kw_only=True, tag="incorrect"):
    """No turn was correct; the number that it would have taken is unknown."""

    turns: int
    """The turns that were run."""


class Undecided(Struct, frozen=True, kw_only=True, tag="undecided"):
    """No check failed, but one could not be judged: neither passed nor failed."""

    turn: int


class Broken(Struct, frozen=True, kw_only=True, tag="broken"):
    """Server, sandbox or agent failed, not the model: never scored."""

    turn: int
    cause: TurnOutcome


TrialOutcome = Correct | Incorrect | Undecided | Broken | NotRun


def is_scored(outcome: TrialOutcome) -> bool:
    return isinstance(outcome, Correct | Incorrect)


class TurnResult(Struct, frozen=True, kw_only=True):
    """One prompt and its result."""

    outcome: TurnOutcome
    seconds: float
    """From the agent's start to its end."""
    first_call_s: float | None
    """From the tap's start to the agent's first call of the model."""
    calls: tuple[CallTimes, ...]
    totals: Totals
    disagreements: tuple[str, ...] = ()
    """Descriptions of where the tap's sums and the server's counters differ."""
    tool_uses: int
    """Tool calls of the model, as the tap saw them."""
    failed_tool_uses: int
    judgement: Judgement | None
    """None without an answer to judge."""
    judged_s: float
    left_running: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class TrialResult(Struct, frozen=True, kw_only=True):
    outcome: TrialOutcome
    turns: tuple[TurnResult, ...] = ()
    tdd: TddOrder | None = None
    quality: Quality | None = None
    """Of the workspace as the last turn left it."""
    tokens: Breakdown | None = None
    """Of the conversation as the last call saw it."""
    refusals: tuple[str, ...] = ()
    """For a scripted model: the real server's answers that were no completion."""
    unread: tuple[str, ...] = ()
    """The parts of the finished work that could not be read, and why."""
    seconds: float = 0.0
    """The agent's, the judging's and the harness's own."""
    analysed_s: float = 0.0
    """Analysing the finished work: test order, quality, tokens. 0 in older records,
    where no other figure includes it either."""
    harness_s: float = 0.0
    """Beside the agent's time and the judging: sandbox, files, recording."""

    @property
    def judging_s(self) -> float:
        """The checks after each turn, and analysing the finished work."""
        return sum(turn.judged_s for turn in self.turns) + self.analysed_s

    @property
    def calls(self) -> int:
        """Calls of the model through the tap."""
        return sum(len(turn.calls) for turn in self.turns)
