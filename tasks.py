"""The commands, in workflow order: their flags are in `commands/flags.py`."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from invoke import Collection, Context, Exit, task

from llamatrix import scratch, terminal
from llamatrix.commands import flags as taken
from llamatrix.commands.flag_values import read_flags, refuse_ignored
from llamatrix.commands.regress.flags import Flags as Regressing
from llamatrix.errors import BenchError

F = TypeVar("F")
terminal.end_with_the_reader_of_help(sys.argv)


def command(
    takes: type[F], *, name: str | None = None
) -> Callable[[Callable[[F], int | None]], Any]:
    """An Invoke task of a function of its flags, which returns the exit code or None."""

    def wrap(body: Callable[[F], int | None]) -> Any:  # noqa: ANN401
        @functools.wraps(body)
        def guarded(c: Context, **written: Any) -> None:  # noqa: ANN401
            terminal.prepare()
            scratch.sweep()
            try:
                refuse_ignored(c.config.timeouts.command)
                code = body(read_flags(takes, written, dry=c.config.run.dry))
                sys.stdout.flush()
            except BenchError as error:
                raise Exit(f"llamatrix: {error}", error.exit_code) from error
            except OSError as error:
                message, code = terminal.end_of(error)
                raise Exit(message, code) from error
            except KeyboardInterrupt:
                raise Exit(terminal.INTERRUPTED, 130) from None
            if code:
                raise Exit(code=code)

        context = inspect.Parameter("c", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        guarded.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [context, *taken.parameters_of(takes)]
        )
        return task(name=name, help=taken.help_of(takes))(guarded)

    return wrap


@command(taken.Planning)
def plan(f: taken.Planning) -> None:
    """Show the cells: what is recorded already, what would be measured."""
    from llamatrix.commands.benchmark import show_plan

    print(show_plan(f))


@command(taken.Nothing)
def schema(_f: taken.Nothing) -> None:
    """Print the JSON Schema of matrix.toml."""
    from llamatrix.config.schema import matrix_schema

    print(matrix_schema(), end="")


@command(taken.Locking)
def lock(f: taken.Locking) -> None:
    """Resolve the pins of matrix.toml into matrix.lock."""
    from llamatrix.commands.lock import lock as locking

    locking(check=f.check, python=f.python)


@command(taken.Selecting)
def build(f: taken.Selecting) -> None:
    """Compile the llama.cpp builds that the profile's cells need."""
    from llamatrix.commands.bench import provide_builds
    from llamatrix.commands.session import opened

    provide_builds(opened(f.profile, f.cells))


@command(taken.Weighing)
def weights(f: taken.Weighing) -> None:
    """Write or fetch the weights that the profile's cells need."""
    from llamatrix.commands.bench import provide_all_weights
    from llamatrix.commands.session import opened

    session = opened(f.profile, f.cells, weights_dir=f.weights_dir, ask_hub=True)
    provide_all_weights(session)


@command(taken.Fitting)
def fit(f: taken.Fitting) -> None:
    """Predict memory and the largest context on a card; needs no GPU and no download."""
    from llamatrix.commands.fit import fit as fitted

    print(fitted(f), end="")


@command(taken.Serving)
def serve(f: taken.Serving) -> None:
    """Serve a model until Ctrl-C; print its URL and a ready OpenCode configuration."""
    from llamatrix.commands.serve import serve as serving

    serving(f)


@command(taken.Templating)
def template_check(f: taken.Templating) -> None:
    """Prove chat templates by conversations on a real server; exit 1 if one fails."""
    from llamatrix.commands import template_check as checking

    found = checking.check(model=f.model, pin=f.pin, template=f.template)
    print(checking.as_json(found) if f.json else checking.as_text(found))
    checking.require_essentials(found)


@command(taken.Measuring)
def bench(f: taken.Measuring) -> int:
    """Measure with llama-bench what the profile's cells still lack."""
    from llamatrix.commands.benchmark import measure_speed

    return measure_speed(f)


@command(taken.Trying)
def agent(f: taken.Trying) -> int:
    """Have OpenCode do the tasks with the profile's models, judged by their checks."""
    from llamatrix.commands.benchmark import make_trials

    text, code = make_trials(f)
    print(text, end="")
    return code


@command(taken.Contexting)
def context(f: taken.Contexting) -> None:
    """Find the largest context that fits, stays fast and is remembered."""
    from llamatrix.commands.context.command import context as searched

    print(searched(f), end="")


@command(taken.Tabulating)
def table(f: taken.Tabulating) -> None:
    """Write all tables anew from the records, and show them. Works offline."""
    from llamatrix.commands.tabulate import tabulate

    print(tabulate(f.profile or None, out=f.out or None, records=f.records), end="")


@command(taken.Opining)
def opinion(f: taken.Opining) -> None:
    """Ask a model what it thinks of recorded trials' code; decides nothing."""
    from llamatrix.commands.opinion import opinion as opined

    print(opined(f), end="")


@command(taken.Comparing)
def compare(f: taken.Comparing) -> None:
    """Hold our records against published numbers; exit 1 where some differ."""
    from llamatrix.commands import compare as comparing

    if f.selftest:
        comparing.selftest(f.against)
        return
    if f.bandwidth:
        comparing.measure_this_bandwidth()
    found = comparing.compare(
        f.against,
        profile=f.profile,
        host=f.host,
        records=f.records,
        as_json=f.json,
    )
    print(found.text, end="")
    comparing.require_agreement(f.against, found)


@command(taken.Auditing)
def audit(f: taken.Auditing) -> None:
    """Hold published numbers against each other and against physics."""
    from llamatrix.commands.audit import audit as audited

    print(audited(f.set, as_json=f.json), end="")


@command(taken.Certifying)
def certificate(f: taken.Certifying) -> None:
    """Certify, claim by claim and provably, what our records reproduce."""
    from llamatrix.commands.certificate import certificate as certified

    print(certified(f), end="")


@command(Regressing)
def regress(f: Regressing) -> int:
    """Compare two pins of anything: SLOWER, SAME, FASTER, BROKEN or INCONCLUSIVE."""
    from llamatrix.commands.regress.options import answer

    return answer(f)


@command(taken.Judging)
def verdict(f: taken.Judging) -> int:
    """Judge a file of paired samples: exit 0, 10 SLOWER, 11 BROKEN, 12 INCONCLUSIVE."""
    from llamatrix.commands.verdict import state

    return state(f.file, margin=f.margin, looks=f.looks, as_json=f.json)


@command(taken.Trying, name="all")
def all_(f: taken.Trying) -> int:
    """Build, measure, try and tabulate: the whole benchmark in one command."""
    from llamatrix.commands.benchmark import do_all

    text, code = do_all(f)
    print(text, end="")
    return code


@command(taken.Proving)
def gpu_proof(f: taken.Proving) -> None:
    """Prove it on the CUDA card of this machine: build, measure, compare, clean up."""
    from llamatrix.commands.gpu_proof import prove

    print(prove(f), end="")


@command(taken.Reporting)
def doctor(f: taken.Reporting) -> None:
    """Say what this machine can run, and the remedy for what it lacks."""
    from llamatrix.commands.doctor import examine

    examine(as_json=f.json, verify=f.verify)


@command(taken.TaskChecking)
def task_check(f: taken.TaskChecking) -> None:
    """Prove the tasks' checks on known work, or judge a workspace; exit 1 on failure."""
    from llamatrix.commands.task_check import check

    check(f)


@command(taken.Regrading)
def regrade(f: taken.Regrading) -> None:
    """Judge archived work again with today's checks, without a token."""
    from llamatrix.commands.regrade import regrade as judging_again

    print(judging_again(f), end="")


@command(taken.Pairing)
def bench_self(f: taken.Pairing) -> None:
    """Measure the harness itself: exact samples, its own time, its bias."""
    from llamatrix.commands.bench_self import report

    report(pairs=f.pairs, long_s=f.long)


@command(taken.SelfTesting)
def regress_selftest(f: taken.SelfTesting) -> None:
    """Prove the verdict on itself: A/A, known-slow and broken, real and simulated."""
    from llamatrix.commands.regress.selftest import selftest

    selftest(quick=f.quick, simulate=f.simulate)


@command(taken.Nothing)
def lint(_f: taken.Nothing) -> None:
    """Check style, types and dead code with ruff, mypy and vulture."""
    from llamatrix.commands import dev

    dev.lint()


@command(taken.Testing)
def test(f: taken.Testing) -> None:
    """Run the tests."""
    from llamatrix.commands import dev

    dev.test(everything=f.all, update_golden=f.update_golden)


namespace = Collection(
    *(plan, schema, lock, build, weights, fit, serve, template_check, bench, agent),
    *(context, table, opinion, compare, audit, certificate, regress, verdict, all_),
    *(gpu_proof, doctor, task_check, regrade, bench_self, regress_selftest),
    *(lint, test),
)
