"""`invoke plan`, `bench`, `agent` and `all`: which halves of a session are done."""

from collections.abc import Callable
from dataclasses import replace

from llamatrix.campaigns.flags import Measuring, Planning, Trying
from llamatrix.campaigns.plan_view import plan_json, plan_text
from llamatrix.campaigns.session import Session, opened
from llamatrix.errors import MatrixError


def show_plan(f: Planning) -> str:
    session = opened(f.profile, f.cells, again=f.again, retry=f.retry)
    return plan_json(session) if f.json else plan_text(session)


def measure_speed(f: Measuring) -> None:
    """The speed cells alone."""
    from llamatrix.campaigns.bench import bench_session

    _done(_session(f, keeps=lambda s: replace(s, trials=())), f, bench_session)


def make_trials(f: Trying) -> str:
    """The agent cells alone; the tables of what is recorded then."""
    from llamatrix.campaigns.agent.command import try_session

    session = _session(f, keeps=lambda s: replace(s, items=()))
    session = replace(session, any_template=f.any_template)
    return _shown(session) if _done(session, f, try_session) else ""


def do_all(f: Trying) -> str:
    """Both, one after the other, and the tables."""
    from llamatrix.campaigns.agent.command import try_session
    from llamatrix.campaigns.bench import bench_session

    session = replace(_session(f), any_template=f.any_template)
    done = _done(
        session,
        f,
        *([bench_session] if session.items else []),
        *([try_session] if session.trials else []),
    )
    return _shown(session) if done else ""


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


def _done(session: Session, f: Measuring, *halves: Callable[[Session], object]) -> bool:
    """Do the halves in turn; a dry run only shows the plan."""
    if f.dry_run:
        print(plan_text(session))
        return False
    for half in halves:
        half(session)
    return True


def _shown(session: Session) -> str:
    from llamatrix.campaigns.tabulate import show_session

    return show_session(session)
