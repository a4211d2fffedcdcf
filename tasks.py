"""The commands, in workflow order: their flags are in `commands/flags.py`."""

import functools
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from invoke import Collection, Context, Exit, Task, task

from llamatrix import scratch, terminal
from llamatrix.commands import flags
from llamatrix.errors import BenchError

F = TypeVar("F")
COMMANDS: dict[str, tuple[str, type]] = {}
"""By name, the docstring and the flags of each command."""
terminal.end_with_the_reader_of_help(sys.argv)
try:
    flags.refuse_renamed(sys.argv)
except BenchError as error:
    raise Exit(f"llamatrix: {error}", error.exit_code) from error


class Command(Task):  # type: ignore[type-arg]
    """A task whose short flags are chosen by hand."""

    def arg_opts(
        self, name: str, default: str, taken_names: set[str]
    ) -> dict[str, Any]:
        options: dict[str, Any] = super().arg_opts(name, default, taken_names)
        options["names"] += flags.SHORT.get(name, "")
        return options


def command(
    takes: type[F], *, name: str | None = None
) -> Callable[[Callable[[F], int | None]], Any]:
    """An Invoke task of a function of its flags, which returns the exit code or None."""

    def wrap(body: Callable[[F], int | None]) -> Any:  # noqa: ANN401
        called = name or body.__name__.replace("_", "-")
        COMMANDS[called] = (inspect.getdoc(body) or "", takes)

        @functools.wraps(body)
        def guarded(c: Context, **written: Any) -> None:  # noqa: ANN401
            terminal.prepare()
            scratch.sweep()
            try:
                flags.refuse_ignored(c.config.timeouts.command)
                code = body(flags.read_flags(takes, written, dry=c.config.run.dry))
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
            [context, *flags.parameters_of(takes)]
        )
        return task(
            name=name,
            help=flags.help_of(takes),
            auto_shortflags=False,
            klass=Command,
        )(guarded)

    return wrap


@command(flags.PlanFlags)
def plan(f: flags.PlanFlags) -> None:
    """Show the cells: what is recorded, what is due and why."""
    if f.cluster:
        from llamatrix.cluster import commands as cluster

        print(cluster.plan(f))
        return
    from llamatrix.commands.plan import plan as show

    print(show(f))


@command(flags.NoFlags)
def schema(_f: flags.NoFlags) -> None:
    """Print the JSON Schema of matrix.toml."""
    from llamatrix.config.matrix import matrix_schema

    print(matrix_schema(), end="")


@command(flags.AddFlags)
def add(f: flags.AddFlags) -> None:
    """Add a GGUF, here or on the hub, to matrix.toml as a complete entry."""
    from llamatrix.commands.add import add as append

    print(append(f), end="")


@command(flags.LockFlags)
def lock(f: flags.LockFlags) -> None:
    """Resolve the pins of matrix.toml into matrix.lock."""
    from llamatrix.commands.lock import lock as resolve

    resolve(check=f.check, python=f.python)


@command(flags.SelectFlags)
def build(f: flags.SelectFlags) -> None:
    """Compile the llama.cpp builds that the profile's cells need."""
    from llamatrix.commands.provide import build as compile_builds

    compile_builds(f)


@command(flags.WeightsFlags)
def weights(f: flags.WeightsFlags) -> None:
    """Write or fetch the weights that the profile's cells need."""
    from llamatrix.commands.provide import weights as provide

    provide(f)


@command(flags.FitFlags)
def fit(f: flags.FitFlags) -> None:
    """Predict memory and the largest context on a card; needs no GPU and no download."""
    from llamatrix.commands.fit import fit as predict

    print(predict(f), end="")


@command(flags.ChooseFlags)
def choose(f: flags.ChooseFlags) -> None:
    """Rank the models for a card: what fits, how fast, how often correct, and who says so."""
    from llamatrix.commands.choose import choose as rank

    print(rank(f), end="")


@command(flags.ServeFlags)
def serve(f: flags.ServeFlags) -> None:
    """Serve a model until Ctrl-C; print its URL and a ready OpenCode configuration."""
    from llamatrix.commands.serve import serve as run

    run(f)


@command(flags.TemplateFlags)
def template_check(f: flags.TemplateFlags) -> None:
    """Prove chat templates by conversations on a real server; exit 1 if one fails."""
    from llamatrix.commands import template_check as checking

    found = checking.check(
        model=f.model, pin=f.pin, template=f.template, profile=f.profile
    )
    print(checking.as_json(found) if f.json else checking.as_text(found))
    checking.require_essentials(found)


@command(flags.MeasureFlags)
def bench(f: flags.MeasureFlags) -> int:
    """Measure with llama-bench what the profile's cells still lack."""
    if f.cluster:
        from llamatrix.cluster import commands as cluster

        return cluster.bench(f)
    from llamatrix.commands.bench import bench as measure

    return measure(f)


@command(flags.AgentFlags)
def agent(f: flags.AgentFlags) -> int:
    """Make trials: OpenCode does the tasks with the profile's models, checks judge."""
    if f.cluster:
        from llamatrix.cluster import commands as cluster

        return cluster.agent(f)
    from llamatrix.commands.agent import agent as make_trials

    return make_trials(f)


@command(flags.ContextFlags)
def context(f: flags.ContextFlags) -> None:
    """Find the largest context that fits, stays fast and is remembered."""
    if f.cluster:
        from llamatrix.cluster import commands as cluster

        cluster.context(f)
        return
    from llamatrix.commands.context import context as search

    print(search(f), end="")


@command(flags.BreakdownFlags)
def breakdown(f: flags.BreakdownFlags) -> None:
    """Replay a session beside llama-bench: where the server's time goes."""
    from llamatrix.commands.breakdown import breakdown as break_down

    print(break_down(f), end="")


@command(flags.TableFlags)
def table(f: flags.TableFlags) -> None:
    """Write all tables from the records and print a summary; works offline."""
    from llamatrix.commands.tabulate import tabulate

    print(tabulate(f), end="")


@command(flags.ExportFlags)
def export(f: flags.ExportFlags) -> None:
    """Print recorded speeds in the format of another tool."""
    from llamatrix.commands.export import export as convert

    print(convert(f), end="")


@command(flags.MergeFlags)
def merge(f: flags.MergeFlags) -> None:
    """Add the records of other machines to this checkout's, without doubles."""
    from llamatrix.commands.merge import merge as join

    print(join(f.folders), end="")


@command(flags.JudgeFlags)
def llm_judge(f: flags.JudgeFlags) -> None:
    """Ask a model to rate the work of recorded trials; affects no verdict."""
    from llamatrix.commands.llm_judge import llm_judge as ask

    print(ask(f), end="")


@command(flags.CompareFlags)
def compare(f: flags.CompareFlags) -> None:
    """Compare our records with published numbers; exit 1 if some differ."""
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


@command(flags.AuditFlags)
def audit(f: flags.AuditFlags) -> None:
    """Check published numbers against each other and against physics."""
    from llamatrix.commands.audit import audit as check

    print(check(f.set, as_json=f.json), end="")


@command(flags.CertificateFlags)
def certificate(f: flags.CertificateFlags) -> None:
    """Write or verify a certificate of the claims that our records reproduce."""
    from llamatrix.commands.certificate import certificate as certify

    print(certify(f), end="")


@command(flags.RegressFlags)
def regress(f: flags.RegressFlags) -> int:
    """Compare two arms: SLOWER, SAME, FASTER, BROKEN or INCONCLUSIVE.

    Arms     --baseline --candidate       what is compared: [KIND:]NAME
    Subject  --replay --agent             else llama-bench; --agent: --tasks --trials
    Models   --profile --cells --weights-dir
    Measure  --metric --margin --budget --max-background-load --again --dry-run
    Output   --json --junit --markdown --git-bisect
    """
    from llamatrix.commands.regress import regress as regressed

    return regressed(f)


@command(flags.BisectFlags)
def bisect(f: flags.BisectFlags) -> int:
    """Find the commit that made it slow or broke it.

    Range    --good --bad --repo --first-parent
    Failure  --check                      else llama-bench: a loss, or a crash
    Models   --profile --cells --weights-dir
    Measure  --metric --margin --budget --max-background-load --again --dry-run
    Output   --json --markdown
    """
    from llamatrix.commands.bisect import bisect as searched

    return searched(f)


@command(flags.VerdictFlags)
def verdict(f: flags.VerdictFlags) -> int:
    """Judge a file of paired samples: exit 0, 10 SLOWER, 11 BROKEN, 12 INCONCLUSIVE."""
    from llamatrix.commands.verdict import state

    return state(f.file, margin=f.margin, looks=f.looks, as_json=f.json)


@command(flags.AllFlags, name="all")
def all_(f: flags.AllFlags) -> int:
    """Build, measure, make trials and print a summary: the whole benchmark."""
    if f.cluster:
        from llamatrix.cluster import commands as cluster

        return cluster.all_(f)
    from llamatrix.commands.all import all_ as run

    return run(f)


@command(flags.DoctorFlags)
def doctor(f: flags.DoctorFlags) -> None:
    """Show what this machine can run, and how to get what it lacks."""
    if f.cluster:
        from llamatrix.cluster import commands as cluster

        cluster.doctor(f)
        return
    from llamatrix.commands.doctor import examine

    examine(as_json=f.json, verify=f.verify)


@command(flags.TaskCheckFlags)
def task_check(f: flags.TaskCheckFlags) -> None:
    """Prove the tasks' checks on known work, or judge a workspace; exit 1 on failure."""
    from llamatrix.commands.task_check import check

    check(f)


@command(flags.RegradeFlags)
def regrade(f: flags.RegradeFlags) -> None:
    """Judge archived work again with today's checks, without asking a model."""
    from llamatrix.commands.regrade import regrade as judge

    print(judge(f), end="")


@command(flags.BenchSelfFlags)
def bench_self(f: flags.BenchSelfFlags) -> None:
    """Measure the harness itself: exactness of samples, overhead, bias."""
    if f.cluster:
        from llamatrix.cluster.bench_self import bench_self as compare_with_here

        compare_with_here(f)
        return
    from llamatrix.commands.bench_self import report

    report(f)


@command(flags.CrossTalkFlags)
def cross_talk(f: flags.CrossTalkFlags) -> None:
    """Measure whether a busy card changes what another card of this host does."""
    from llamatrix.commands.cross_talk import cross_talk as measure

    print(measure(f), end="")


@command(flags.RegressSelftestFlags)
def regress_selftest(f: flags.RegressSelftestFlags) -> None:
    """Prove the verdict on itself: A/A, known-slow and broken, real and simulated."""
    from llamatrix.commands.regress_selftest import selftest

    selftest(quick=f.quick, simulate=f.simulate)


@command(flags.NoFlags)
def lint(_f: flags.NoFlags) -> None:
    """Check style, types and dead code with ruff, mypy and vulture."""
    from llamatrix.commands import dev

    dev.lint()


@command(flags.DocsFlags)
def docs(f: flags.DocsFlags) -> None:
    """Write the references of docs/ from the types and build the site."""
    from llamatrix.commands import docs as documentation

    documentation.write_references(COMMANDS)
    if not f.references:
        documentation.build_site()


@command(flags.TestFlags)
def test(f: flags.TestFlags) -> None:
    """Run the tests."""
    from llamatrix.commands import dev

    dev.test(everything=f.all, update_golden=f.update_golden)


GROUPS = {
    "Measure": (all_, plan, bench, agent, context, breakdown, llm_judge),
    "Read and compare": (table, export, merge, compare, audit, certificate),
    "Better or worse": (regress, bisect, verdict, template_check, task_check, regrade),
    "Run a model": (choose, fit, serve, add),
    "Prepare": (doctor, lock, build, weights, schema),
    "Develop": (lint, test, docs, bench_self, cross_talk, regress_selftest),
}
"""The commands under the headings of `llamatrix --list`."""
namespace = Collection(*(one for group in GROUPS.values() for one in group))
try:
    flags.refuse_automatic_short(sys.argv, COMMANDS)
except BenchError as error:
    raise Exit(f"llamatrix: {error}", error.exit_code) from error
