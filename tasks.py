"""The commands, in workflow order. `invoke --help COMMAND` tells every flag."""

import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from invoke import Collection, Context, Exit, task

from llamatrix.errors import BenchError

if TYPE_CHECKING:
    from llamatrix.campaigns.session import Session

_PROFILE = "a profile of matrix.toml (default: what fits this machine)"
_CELLS = "only cells whose id matches this glob, e.g. 'speed/qwen35-*'"
_AGAIN = "so many repeats more of every cell"
_RETRY = "measure again what failed before"
_DRY_RUN = "only show what would be done"
_JSON = "print one JSON document"


def command(
    *, name: str | None = None, **flags: str
) -> Callable[[Callable[..., None]], Any]:
    """An Invoke task whose errors are one line and an exit code."""

    def wrap(body: Callable[..., None]) -> Any:  # noqa: ANN401
        @functools.wraps(body)
        def guarded(*args: object, **kwargs: object) -> None:
            for number in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, _interrupt)
            try:
                body(*args, **kwargs)
            except BenchError as error:
                raise Exit(f"llamatrix: {error}", error.exit_code) from error
            except KeyboardInterrupt:
                raise Exit(
                    "\nllamatrix: interrupted; finished records are kept, the same "
                    "command goes on from there",
                    130,
                ) from None

        return task(name=name, help=flags)(guarded)

    return wrap


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


@command(profile=_PROFILE, cells=_CELLS, again=_AGAIN, retry=_RETRY, json=_JSON)
def plan(
    _c: Context,
    profile: str = "",
    cells: str = "",
    again: int = 0,
    retry: bool = False,
    json: bool = False,
) -> None:
    """Show the cells: what is recorded already, what would be measured."""
    from llamatrix.campaigns.plan_view import plan_json, plan_text
    from llamatrix.campaigns.session import opened

    items = opened(profile, cells, again=again, retry=retry).items
    print(plan_json(items) if json else plan_text(items))


@command()
def schema(_c: Context) -> None:
    """Print the JSON Schema of matrix.toml."""
    from llamatrix.plan.schema import matrix_schema

    print(matrix_schema(), end="")


@command(
    check="write nothing; exit 1 where the lock differs from the package index",
    python="resolve requirements.txt instead: the Python packages, with hashes",
)
def lock(_c: Context, check: bool = False, python: bool = False) -> None:
    """Resolve the pins of matrix.toml into matrix.lock."""
    from llamatrix.campaigns import lock as locking

    if python:
        locking.write_requirements()
    elif check:
        locking.check()
    else:
        locking.write()


@command(profile=_PROFILE, cells=_CELLS)
def build(_c: Context, profile: str = "", cells: str = "") -> None:
    """Compile the llama.cpp builds that the profile's cells need."""
    from llamatrix.campaigns.bench import provide_builds
    from llamatrix.campaigns.session import opened

    provide_builds(opened(profile, cells))


@command(profile=_PROFILE, cells=_CELLS)
def weights(_c: Context, profile: str = "", cells: str = "") -> None:
    """Write or fetch the weights that the profile's cells need."""
    from llamatrix.campaigns.bench import provide_all_weights
    from llamatrix.campaigns.session import opened

    provide_all_weights(opened(profile, cells))


@command(profile=_PROFILE, cells=_CELLS, again=_AGAIN, retry=_RETRY, dry_run=_DRY_RUN)
def bench(
    _c: Context,
    profile: str = "",
    cells: str = "",
    again: int = 0,
    retry: bool = False,
    dry_run: bool = False,
) -> None:
    """Measure with llama-bench what the profile's cells still lack."""
    _measured(profile, cells, again=again, retry=retry, dry_run=dry_run)


@command(
    profile="show only this profile's tables (default: all)",
    out="also copy these tables and their records into this folder",
)
def table(_c: Context, profile: str = "", out: str = "") -> None:
    """Write all tables anew from the records, and show them. Works offline."""
    from llamatrix.campaigns.tabulate import tabulate

    print(tabulate(profile or None, out=out or None), end="")


@command(
    name="all",
    profile=_PROFILE,
    cells=_CELLS,
    again=_AGAIN,
    retry=_RETRY,
    dry_run=_DRY_RUN,
)
def all_(
    _c: Context,
    profile: str = "",
    cells: str = "",
    again: int = 0,
    retry: bool = False,
    dry_run: bool = False,
) -> None:
    """Build, measure and tabulate: the whole benchmark in one command."""
    session = _measured(profile, cells, again=again, retry=retry, dry_run=dry_run)
    if session:
        from llamatrix.campaigns.tabulate import show_session

        print(show_session(session), end="")


def _measured(
    profile: str, cells: str, *, again: int, retry: bool, dry_run: bool
) -> "Session | None":
    """Measure what is missing; None after a dry run, which only shows the plan."""
    from llamatrix.campaigns.bench import bench_session
    from llamatrix.campaigns.plan_view import plan_text
    from llamatrix.campaigns.session import opened

    session = opened(profile, cells, again=again, retry=retry)
    if dry_run:
        print(plan_text(session.items))
        return None
    bench_session(session)
    return session


@command(pairs="interleaved pairs of llamatrix and llama-bench by hand")
def bench_self(_c: Context, pairs: int = 8) -> None:
    """Measure the harness itself: exact samples, its own time, its bias."""
    from llamatrix.campaigns.bench_self import report

    report(pairs=pairs)


@command()
def lint(_c: Context) -> None:
    """Check style and types with ruff and mypy."""
    from llamatrix.campaigns import workshop

    workshop.lint()


@command(
    all="also the slow tests: real compiler, real llama.cpp, package registries",
    update_golden="rewrite the golden files from what the code gives now",
)
def test(_c: Context, all: bool = False, update_golden: bool = False) -> None:  # noqa: A002
    """Run the tests."""
    from llamatrix.campaigns import workshop

    workshop.test(everything=all, update_golden=update_golden)


namespace = Collection(
    *(plan, schema, lock, build, weights, bench, table, all_),
    *(bench_self, lint, test),
)
