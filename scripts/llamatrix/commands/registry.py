"""The commands under the headings of `llamatrix --list`: what each takes and runs."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from llamatrix.commands import flags


@dataclass(frozen=True, slots=True)
class Command:
    name: str
    takes: type
    """The class of its flags, whose docstring is the text of `--help`."""
    runs: str
    """`module:function` of this package."""
    on_cluster: str = ""
    """`module:function` of `llamatrix.cluster` that `--cluster` runs instead."""

    @property
    def about(self) -> str:
        return inspect.getdoc(self.takes) or ""

    def function(self, taken: Any) -> Callable[[Any], str | int | None]:  # noqa: ANN401
        """Import the function that these flags ask for.

        It takes them, and returns a text to print, an exit code, or None.
        """
        package, path = "llamatrix.commands", self.runs
        if self.on_cluster and taken.cluster:
            package, path = "llamatrix.cluster", self.on_cluster
        module, _, name = path.partition(":")
        found: Callable[[Any], str | int | None]
        found = getattr(import_module(f"{package}.{module}"), name)
        return found


GROUPS = {
    "Measure": (
        Command("all", flags.AllFlags, "all:all_", "commands:all_"),
        Command("plan", flags.PlanFlags, "plan:plan", "commands:plan"),
        Command("bench", flags.MeasureFlags, "bench:bench", "commands:bench"),
        Command("agent", flags.AgentFlags, "agent:agent", "commands:agent"),
        Command("context", flags.ContextFlags, "context:context", "commands:context"),
        Command("breakdown", flags.BreakdownFlags, "breakdown:breakdown"),
        Command("llm-judge", flags.JudgeFlags, "llm_judge:llm_judge"),
    ),
    "Read and compare": (
        Command("table", flags.TableFlags, "tabulate:tabulate"),
        Command("export", flags.ExportFlags, "export:export"),
        Command("merge", flags.MergeFlags, "merge:merge"),
        Command("compare", flags.CompareFlags, "compare:compare"),
        Command("audit", flags.AuditFlags, "audit:audit"),
        Command("certificate", flags.CertificateFlags, "certificate:certificate"),
    ),
    "Better or worse": (
        Command("regress", flags.RegressFlags, "regress:regress"),
        Command("bisect", flags.BisectFlags, "bisect:bisect"),
        Command("verdict", flags.VerdictFlags, "verdict:verdict"),
        Command("template-check", flags.TemplateFlags, "template_check:template_check"),
        Command("task-check", flags.TaskCheckFlags, "task_check:task_check"),
        Command("regrade", flags.RegradeFlags, "regrade:regrade"),
    ),
    "Run a model": (
        Command("choose", flags.ChooseFlags, "choose:choose"),
        Command("fit", flags.FitFlags, "fit:fit"),
        Command("serve", flags.ServeFlags, "serve:serve"),
        Command("add", flags.AddFlags, "add:add"),
    ),
    "Prepare": (
        Command("doctor", flags.DoctorFlags, "doctor:doctor", "commands:doctor"),
        Command("lock", flags.LockFlags, "lock:lock"),
        Command("build", flags.BuildFlags, "provide:build"),
        Command("weights", flags.WeightsFlags, "provide:weights"),
        Command("schema", flags.SchemaFlags, "docs:schema"),
    ),
    "Develop": (
        Command("lint", flags.LintFlags, "dev:lint"),
        Command("test", flags.TestFlags, "dev:test"),
        Command("docs", flags.DocsFlags, "docs:docs"),
        Command(
            "bench-self",
            flags.BenchSelfFlags,
            "bench_self:bench_self",
            on_cluster="bench_self:bench_self",
        ),
        Command("cross-talk", flags.CrossTalkFlags, "cross_talk:cross_talk"),
        Command("regress-selftest", flags.SelftestFlags, "regress_selftest:selftest"),
    ),
}
COMMANDS = {command.name: command for group in GROUPS.values() for command in group}
