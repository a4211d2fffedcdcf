"""`invoke plan`, `bench`, `agent` and `all`: which halves of a session are done."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from llamatrix.commands.agent.command import try_session
from llamatrix.commands.agent.conduct import TrialTally
from llamatrix.commands.bench import Tally, bench_session
from llamatrix.commands.flags import Measuring, Planning, Trying
from llamatrix.commands.plan_view import plan_json, plan_text
from llamatrix.commands.session import Session, opened
from llamatrix.errors import MatrixError
from llamatrix.measured_environment import dropped_variables
from llamatrix.progress import say

NOT_ALL_NUMBERS = 8
"""The exit code of what was done, and has outcomes that are not numbers."""


def show_plan(f: Planning) -> str:
    session = opened(f.profile, f.cells, again=f.again, retry=f.retry)
    return plan_json(session) if f.json else plan_text(session)


def measure_speed(f: Measuring) -> int:
    """The speed cells alone; the exit code."""
    session = _session(f, keeps=lambda s: replace(s, trials=()))
    return _exit_code(_done(session, f, bench_session))


def make_trials(f: Trying) -> tuple[str, int]:
    """The agent cells alone; the tables of what is recorded then, and the exit code."""
    session = _session(f, keeps=lambda s: replace(s, items=()))
    session = replace(session, any_template=f.any_template)
    tallies = _done(session, f, try_session)
    return _shown(session) if tallies else "", _exit_code(tallies)


def do_all(f: Trying) -> tuple[str, int]:
    """Both, one after the other, and the tables; the exit code."""
    session = replace(_session(f), any_template=f.any_template)
    tallies = _done(
        session,
        f,
        *([bench_session] if session.items else []),
        *([try_session] if session.trials else []),
    )
    return _shown(session) if tallies else "", _exit_code(tallies)


def _session(
    f: Measuring, *, keeps: Callable[[Session], Session] = lambda session: session
) -> Session:
    session = keeps(
        opened(
            f.profile,
            f.cells,
            again=f.again,
            retry=f.retry,
            weights_dir=f.weights_dir,
            ask_hub=not f.dry_run,
        )
    )
    if not session.items and not session.trials:
        raise MatrixError(
            f"profile {session.profile!r}: none of these cells is of this command's "
            "kind; `invoke plan` shows them all"
        )
    return session


def _done(
    session: Session, f: Measuring, *halves: Callable[[Session], Tally | TrialTally]
) -> list[Tally | TrialTally]:
    """Do the halves in turn; a dry run only shows the plan."""
    if f.dry_run:
        print(plan_text(session))
        return []
    if names := dropped_variables():
        say(
            f"not passed on to measured programs: {', '.join(names)}; what is meant for "
            "them belongs into `env` of the sweep or server in matrix.toml"
        )
    return [half(session) for half in halves]


def _exit_code(tallies: Iterable[Tally | TrialTally]) -> int:
    """0, or 8 where some outcomes, old ones included, are not numbers.

    A model that fails its task is a result.
    """
    return NOT_ALL_NUMBERS if any(tally.without_number for tally in tallies) else 0


def _shown(session: Session) -> str:
    from llamatrix.commands.tabulate import show_session

    return show_session(session)
