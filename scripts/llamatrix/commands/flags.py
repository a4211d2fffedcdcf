"""The flags of the commands: names, defaults and help, as Invoke shows them.

Imports nothing heavy: `tasks.py` reads it for every command. A field without a default
is an argument that must be given. Numbers reach us as text: Invoke would answer a word
in their place with a traceback.
"""

import inspect
import os
import sys
import tomllib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

from llamatrix.errors import BenchError, MatrixError
from llamatrix.project import find_project

_HELP = "help"
_SHOWN_CHARACTERS = 60
_RENAMED = {
    "--most": "--max-context",
    "--keep-speed": "--min-speed-ratio",
    "--tolerate-load": "--max-background-load",
    **{
        f"--{arm}-{old}": f"--{arm} {kind}:NAME (several with commas)"
        for arm in ("baseline", "candidate")
        for old, kind in (
            *((kind, kind) for kind in ("build", "sweep", "server", "template")),
            *(("opencode", "agent"), ("context7", "context7")),
        )
    },
    "--long": "--long-run-s",
}
"""Old names of flags, for the hint of one release."""
_RENAMED_COMMANDS = {
    "opinion": "`invoke llm-judge`",
    "gpu-proof": "`invoke bench-self --profile gpu-proof`; energy and memory of the cards "
    "are in speed.md (`invoke table`)",
}
"""… and of commands."""
SHORT = {
    "profile": "p",
    "cells": "c",
    "model": "m",
    "records": "r",
    "out": "o",
    "json": "j",
    "dry_run": "n",
    "weights_dir": "w",
    "budget": "b",
}
"""The short flags: one letter for one thing, in every command that has it."""
GIT_BISECT = "--git-bisect"
STOP_GIT_BISECT = 128
"""The exit code where nothing was compared: `git bisect run` takes lower ones for verdicts."""
T = TypeVar("T")


def flag(default: T, text: str, *, least: int = 0, most: int = 2**31 - 1) -> T:
    """A flag of a command: its default and its help; a number has a least and a most."""
    about = {_HELP: text, "least": least, "most": most}
    made: T = field(default=default, metadata=about)
    return made


def switch(text: str) -> bool:
    """A flag without a value, which is off by default."""
    return flag(default=False, text=text)


def argument(text: str) -> Any:  # noqa: ANN401
    """A flag that must be given."""
    return field(metadata={_HELP: text})


def parsed(where: str, text: str, parse: Callable[[str], T]) -> T:
    """Parse the text of a flag; MatrixError says where, and what the ValueError says."""
    try:
        return parse(text)
    except ValueError as error:
        raise MatrixError(f"{where} {error}") from error


def help_of(kind: type) -> dict[str, str]:
    return {item.name: item.metadata[_HELP] for item in fields(kind)}


def parameters_of(kind: type) -> list[inspect.Parameter]:
    """The flags as parameters of a function, for whoever reads a signature."""
    return [
        inspect.Parameter(
            item.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=_shown_default(item),
        )
        for item in fields(kind)
    ]


def _shown_default(item: "Field[Any]") -> object:
    if item.default is MISSING:
        return inspect.Parameter.empty
    return str(item.default) if is_number(item) else item.default


def is_number(item: "Field[Any]") -> bool:
    return type(item.default) in (int, float)


def read_flags(kind: type[T], written: Mapping[str, object], *, dry: bool) -> T:
    """Build the flags; MatrixError names what is unusable.

    `dry` is Invoke's own flag: it is honoured where a command has a dry run.
    """
    values = dict(written)
    if dry and "dry_run" not in values:
        raise MatrixError("--dry: this command has no dry run; leave the flag out")
    if dry:
        values["dry_run"] = True
    for item in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        text = str(written[item.name])
        if "\0" in text:
            raise MatrixError(f"{_shown(item, text)}: contains a NUL character")
        if is_number(item):
            values[item.name] = _number(item, text)
    return kind(**values)


def refuse_renamed(argv: Sequence[str], commands: Mapping[str, type]) -> None:
    """MatrixError with the new name for a command or a flag that was renamed.

    A flag that the command has now is accepted, even if it is an old name elsewhere.
    """
    command = next((word for word in argv[1:] if not word.startswith("-")), "")
    if command in _RENAMED_COMMANDS:
        raise MatrixError(f"{command}: renamed; write {_RENAMED_COMMANDS[command]}")
    own: Collection[str] = ()
    for word in argv:
        if word in commands:
            own = {_long(item.name) for item in fields(commands[word])}
        old = word.partition("=")[0]
        if old in _RENAMED and old not in own:
            raise MatrixError(f"{old}: renamed; write {_RENAMED[old]}")


def refuse_automatic_short(argv: Sequence[str], commands: Mapping[str, type]) -> None:
    """MatrixError for a short flag that Invoke had chosen by itself, for one release.

    A letter that stands for another flag now is refused where its value means nothing
    to that flag, and said aloud where the value may have been meant for the old one.
    """
    kind: type = SchemaFlags  # it has none
    for before, word, after in zip(argv, argv[1:], [*argv[2:], ""], strict=False):
        letter, equals, value = word.partition("=")
        if word in commands and not (before.startswith("-") and "=" not in before):
            kind = commands[word]
        elif old := _automatic_short(kind).get(letter):
            now = next((name for name, one in SHORT.items() if f"-{one}" == letter), "")
            flags = {item.name: item for item in fields(kind)}
            value = value if equals else after
            if now not in flags:
                short = f"-{SHORT[old]} or " if old in SHORT else ""
                raise MatrixError(
                    f"{letter}: short flags are chosen by hand now; write "
                    f"{short}{_long(old)}"
                )
            switch = flags[old].default is False
            written = _long(old) if switch else f"{_long(old)} {value}"
            hint = f"{letter} is {_long(now)} now; for {_long(old)} write {written}"
            if not switch and not _fits(now, value, commands):
                raise MatrixError(f"{letter} {value}: {hint}")
            takes_value = flags[now].default is not False
            is_path = os.path.exists(value)  # noqa: PTH110  (any text may be too long)
            arm = is_path or value in _names("pins")
            if switch or (takes_value and arm):
                print(f"llamatrix: note: {hint}", file=sys.stderr)


def _automatic_short(kind: type) -> dict[str, str]:
    """Invoke's own choice for each flag, where it is not what SHORT says."""
    taken: dict[str, str] = {}
    for name in (item.name for item in fields(kind)):
        for letter in name.replace("_", "-"):
            if letter not in taken and letter != name:
                taken[letter] = name
                break
    return {
        f"-{one}": name for one, name in taken.items() if SHORT.get(name, "") != one
    }


def _fits(now: str, value: str, commands: Collection[str]) -> bool:
    """Whether the value means something to the flag that a letter stands for now."""
    match now:
        case "budget":
            from llamatrix.units import parse_duration_s

            try:
                return parse_duration_s(value) > 0
            except ValueError:
                return False
        case "cells":
            is_path = value.startswith((".", "~", "/"))
            return not is_path and not {*"*?[/"}.isdisjoint(value)
        case "profile":
            return value in (_names("profiles") or {value})
        case _:  # a switch, so the word is no value of it
            own = value.startswith("-") or value.endswith(".gguf")
            return not value or own or value in commands


def _names(table: str) -> Collection[str]:
    """Return the keys of a table of matrix.toml; none where it cannot be read."""
    try:
        text = find_project().matrix_file.read_text(encoding="utf-8")
        return tuple(tomllib.loads(text).get(table, ()))
    except (BenchError, OSError, ValueError):
        return ()


def _long(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def refuse_ignored(command_timeout: int | None) -> None:
    """MatrixError for a flag of Invoke's that would be ignored."""
    if command_timeout is not None:
        raise MatrixError(
            "--command-timeout: Invoke's own flag, which limits nothing here; time "
            "limits are timeout_s in matrix.toml and, where a command has it, --budget"
        )


def _number(item: "Field[Any]", text: str) -> float:
    least, most = item.metadata["least"], item.metadata["most"]
    whole = isinstance(item.default, int)
    try:
        number = int(text) if whole else float(text)
    except ValueError:
        number = None
    if number is None or not least <= number <= most:  # NaN is in no range
        word = "whole number" if whole else "number"
        raise MatrixError(
            f"{_shown(item, text)}: expected a {word} from {least} to {most}"
        )
    return number


def _shown(item: "Field[Any]", text: str) -> str:
    cut = text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
    return f"{_long(item.name)} {cut!r}"


_PROFILE = "a profile of matrix.toml (default: what fits this machine)"
_CELLS = "only cells whose id matches this glob, e.g. 'speed/qwen35-*'"
_TRIAL_CELLS = "only cells whose id matches this glob, e.g. 'agent/qwen35-*'"
_TRIAL_PROFILE = "only trials of this profile (default: all)"
_AGAIN = "additional repeats per cell"
_RETRY = "measure again what failed before"
_MODEL = "a model's key, or a .gguf file (default: the profile's first)"
_ONE_MODEL = "only this model: its key, or a .gguf file (default: the profile's)"
_PIN = (
    "a pin of matrix.toml, a build such as b9553, a commit, or the path of a source "
    "tree or of a folder of programs (default: the profile's first)"
)
WEIGHTS_DIR = "a folder of yours to search first for published GGUFs"
DEFAULT_SET = "blog-2026-04-05"
"""The benchmark that this project reproduces."""
_AGAINST = "a set of reports/published/, or a TOML file of that form"
_HOST = "use records of this host class (default: this machine's)"
_RECORDS = "a folder that holds other records/, e.g. reports/examples/h200"
_JSON = "print one JSON document"


CLUSTER = (
    "measure on other hosts: ssh:box1,box2, the HOST:PORT of Ray's head, auto for the Ray "
    "that runs here, or local for a child on each card of this host"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectFlags:
    profile: str = flag("", _PROFILE)
    cells: str = flag("", _CELLS)
    pin: str = flag("", "only this one: " + _PIN)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanFlags(SelectFlags):
    """Show the cells: what is recorded, what is due and why."""

    cluster: str = flag("", CLUSTER)
    again: int = flag(0, _AGAIN, most=1000)
    retry: bool = switch(_RETRY)
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightsFlags(SelectFlags):
    """Write or fetch the weights that the profile's cells need."""

    weights_dir: str = flag("", WEIGHTS_DIR)


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureFlags(WeightsFlags):
    """Measure with llama-bench what the profile's cells still lack."""

    model: str = flag("", _ONE_MODEL)
    again: int = flag(0, _AGAIN, most=1000)
    retry: bool = switch(_RETRY)
    dry_run: bool = switch("show what would be done, and do nothing")
    cluster: str = flag("", CLUSTER)


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentFlags(MeasureFlags):
    """Make trials: OpenCode does the tasks with the profile's models, checks judge."""

    any_template: bool = switch("run even if the chat template fails essential cases")


_FULL = "print all tables, not a summary"


@dataclass(frozen=True, kw_only=True, slots=True)
class AllFlags(AgentFlags):
    """Build, measure, make trials and print a summary: the whole benchmark."""

    full: bool = switch(_FULL)


@dataclass(frozen=True, kw_only=True, slots=True)
class LockFlags:
    """Resolve the pins of matrix.toml into matrix.lock."""

    check: bool = switch("write nothing; exit 1 if the lock differs")
    python: bool = switch("resolve the requirements*.txt instead, with hashes")


@dataclass(frozen=True, kw_only=True, slots=True)
class AddFlags:
    """Add a GGUF, here or on the hub, to matrix.toml as a complete entry."""

    file: str = argument("a .gguf file, or OWNER/REPOSITORY/FILE.gguf on the hub")
    name: str = flag("", "the entry's key (default: from the file's name)")
    dry_run: bool = switch("print the entry, and write nothing")


@dataclass(frozen=True, kw_only=True, slots=True)
class ServeFlags:
    """Serve a model until Ctrl-C; print its URL and a ready OpenCode configuration."""

    model: str = flag("", _MODEL)
    pin: str = flag("", _PIN)
    profile: str = flag("", _PROFILE)
    weights_dir: str = flag("", WEIGHTS_DIR)
    port: int = flag(
        0, "listen on this port of 127.0.0.1 (default: any free one)", most=65535
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateFlags:
    """Prove chat templates by conversations on a real server; exit 1 if one fails."""

    model: str = flag("", "check what this model is served with (default: all known)")
    pin: str = flag("", "a pin of matrix.toml (default: current; for all, april too)")
    template: str = flag("", "check this file instead")
    profile: str = flag("smoke", "the profile whose models and weights to use")
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class FitFlags:
    """Predict memory and the largest context on a card; needs no GPU and no download."""

    model: str = flag("", "a model's key, or a .gguf file (default: the profile's)")
    vram: str = flag("", "the card's memory, e.g. 24GiB (default: the card here)")
    reserve: str = flag("1GiB", "memory of the card to leave free for other programs")
    profile: str = flag(
        "synthetic", "the profile whose pins, models and cache types to use"
    )
    details: bool = switch("also memory by context, and beside llama-fit-params")
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class ChooseFlags:
    """Rank the models for a card: what fits, how fast, how often correct, and who says so."""

    vram: str = flag("", "the card's memory, e.g. 24GiB (default: the card here)")
    context: int = flag(32768, "the context that must fit, in tokens", least=1)
    records: str = flag("", _RECORDS)
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextFlags:
    """Find the largest context that fits, stays fast and is remembered."""

    model: str = flag("", _MODEL)
    profile: str = flag("", _PROFILE)
    pin: str = flag("", _PIN)
    vram: str = flag("", "use at most this much of the card, e.g. 24GiB (default: all)")
    min_speed_ratio: str = flag(
        "0.8", "least share of the generation speed at 512 tokens"
    )
    max_context: int = flag(
        0, "largest context to try, in tokens (default: what the model was trained for)"
    )
    budget: str = flag(
        "30m", "do not start a context that would finish after this time"
    )
    weights_dir: str = flag("", WEIGHTS_DIR)
    again: bool = switch("search again even where an answer is recorded")
    cluster: str = flag("", CLUSTER)
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class BreakdownFlags:
    """Replay a session beside llama-bench: where the server's time goes."""

    replay: str = argument("a recorded session: the folder of a turn, with calls.jsonl")
    model: str = flag("", _MODEL)
    profile: str = flag("", _PROFILE)
    pin: str = flag("", _PIN)
    weights_dir: str = flag("", WEIGHTS_DIR)
    calls: int = flag(8, "replay at most this many calls, the first", least=1)
    rounds: int = flag(3, "replay them this often in every way", least=1, most=1000)
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFlags:
    """Write all tables from the records and print a summary; works offline."""

    profile: str = flag("", "show only this profile's tables (default: all)")
    records: str = flag("", _RECORDS)
    out: str = flag("", "also copy these tables and their records into this folder")
    full: bool = switch(_FULL)


@dataclass(frozen=True, kw_only=True, slots=True)
class JudgeFlags:
    """Ask a model to rate the work of recorded trials; affects no verdict."""

    url: str = argument("an OpenAI-compatible endpoint, e.g. http://127.0.0.1:8080")
    model: str = argument("the model to ask, by the endpoint's name for it")
    key_env: str = flag("", "the environment variable with the endpoint's key")
    profile: str = flag("", _TRIAL_PROFILE)
    cells: str = flag("", _TRIAL_CELLS)
    again: bool = switch("ask again about trials that are rated already")


@dataclass(frozen=True, kw_only=True, slots=True)
class RegradeFlags:
    """Judge archived work again with today's checks, without asking a model."""

    profile: str = flag("", _TRIAL_PROFILE)
    cells: str = flag("", _TRIAL_CELLS)


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressFlags:
    """Compare two arms: SLOWER, SAME, FASTER, BROKEN or INCONCLUSIVE.

    Arms     --baseline --candidate       what is compared: [KIND:]NAME
    Subject  --replay --agent             else llama-bench; --agent: --tasks --trials
    Models   --profile --cells --weights-dir
    Measure  --metric --margin --budget --max-background-load --again --dry-run
    Output   --json --junit --markdown --git-bisect
    """

    baseline: str = flag("", "arm: [KIND:]NAME, several with commas, e.g. april")
    candidate: str = flag(
        "",
        "arm, e.g. current, b9553 or current,server:smoke; kinds: pin, build, sweep, "
        "server, template, model, agent, context7",
    )
    replay: str = flag("", "subject: this recorded session, in place of llama-bench")
    agent: bool = switch("subject: trials of agents, in place of llama-bench")
    tasks: str = flag("", "subject --agent: of the profile's tasks, e.g. httpx-post")
    trials: int = flag(
        5, "subject --agent: trials of each arm at each task", least=1, most=1000
    )
    profile: str = flag(
        "",
        "models: a profile (default: by what is compared and what this machine has)",
    )
    cells: str = flag(
        "", "models: only cells whose id matches this glob, e.g. '*qwen35-27b*'"
    )
    weights_dir: str = flag("", f"models: {WEIGHTS_DIR}")
    metric: str = flag(
        "",
        "measure: of tg,pp (tokens/s) and, replayed, ttft (a call's prompt time; "
        "default: all)",
    )
    margin: str = flag(
        "", "measure: the loss that matters, a fraction (default 0.02; ttft 0.05)"
    )
    budget: str = flag("20m", "measure: how long, e.g. 90s, 20m or 2h")
    max_background_load: float = flag(
        10.0,
        "measure: load of other programs a pair may have, % of all cores",
        most=100,
    )
    again: bool = switch("measure: begin a new series of pairs")
    dry_run: bool = switch("measure: only show the plan")
    json: bool = switch("output: print one JSON document")
    junit: str = flag("", "output: also write JUnit XML into this file")
    markdown: str = flag("", "output: also write a pull-request comment into this file")
    git_bisect: bool = switch(
        "output: exit as `git bisect run` reads it: 0, 1, 125 or 128",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class BisectFlags:
    """Find the commit that made it slow or broke it.

    Range    --good --bad --repo --first-parent
    Failure  --check                      else llama-bench: a loss, or a crash
    Models   --profile --cells --weights-dir
    Measure  --metric --margin --budget --max-background-load --again --dry-run
    Output   --json --markdown
    """

    good: str = flag("", "range: a pin, a build number or a commit, e.g. april")
    bad: str = flag("", "range: a newer one that is slow or broken, e.g. current")
    repo: str = flag(
        "", "range: the commits of this git repository (default: the provable ones)"
    )
    first_parent: bool = switch(
        "range --repo: of merges only, not of their side branches"
    )
    check: str = flag(
        "", "a failure in place of a speed: output (at a fixed seed) or template"
    )
    profile: str = flag(
        "", "models: a profile (default: engines, or synthetic on a card)"
    )
    cells: str = flag(
        "", "models: only cells whose id matches this glob, e.g. '*qwen35-27b*'"
    )
    weights_dir: str = flag("", f"models: {WEIGHTS_DIR}")
    metric: str = flag("", "measure: of tg,pp (default: both)")
    margin: str = flag("", "measure: the loss that matters, a fraction (default 0.02)")
    budget: str = flag("2h", "measure: how long, builds included, e.g. 90m or 8h")
    max_background_load: float = flag(
        10.0,
        "measure: load of other programs a pair may have, % of all cores",
        most=100,
    )
    again: bool = switch("measure: begin a new search and new pairs")
    dry_run: bool = switch("measure: only show the plan")
    json: bool = switch("output: print one JSON document")
    markdown: str = flag("", "output: also write the result as Markdown into this file")


@dataclass(frozen=True, kw_only=True, slots=True)
class CompareFlags:
    """Compare our records with published numbers; exit 1 if some differ."""

    against: str = flag(DEFAULT_SET, _AGAINST)
    profile: str = flag("", _PROFILE)
    host: str = flag("", _HOST)
    records: str = flag("", _RECORDS)
    json: bool = switch(_JSON)
    bandwidth: bool = switch("first measure this machine's memory bandwidth")
    selftest: bool = switch(
        "simulate instead how often a faithful reproduction is said to differ",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditFlags:
    """Check published numbers against each other and against physics."""

    set: str = argument("a name in reports/published/, or a TOML file of that form")
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class CertificateFlags:
    """Write or verify a certificate of the claims that our records reproduce."""

    against: str = flag("", f"{_AGAINST} (default: {DEFAULT_SET}, or as certified)")
    profile: str = flag("", _PROFILE)
    host: str = flag("", _HOST)
    records: str = flag("", _RECORDS)
    verify: str = flag(
        "", "recompute this certificate or bundle (.tar); exit 1 if it differs"
    )
    bundle: str = flag("", "also pack it with all that it follows from into this .tar")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportFlags:
    """Print recorded speeds in the format of another tool."""

    format: str = argument("llama-bench-sql or github-action-benchmark")
    profile: str = flag("", "only this profile's speeds (default: all)")
    cells: str = flag("", _CELLS)
    host: str = flag("", "only speeds of this host class (default: all)")
    records: str = flag("", _RECORDS)
    out: str = flag("", "write into this file (default: print)")


@dataclass(frozen=True, kw_only=True, slots=True)
class MergeFlags:
    """Add the records of other machines to this checkout's, without doubles."""

    folders: str = argument("folders that hold records/, several with commas")


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictFlags:
    """Judge a file of paired samples: exit 0, 10 SLOWER, 11 BROKEN, 12 INCONCLUSIVE."""

    file: str = argument("JSON lines with pair, arm, value, unit, order and process")
    margin: str = flag("", "the loss that matters, as a fraction (default: by unit)")
    looks: str = flag("", "planned interim looks of a file that grows, e.g. 5,8,12")
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskCheckFlags:
    """Prove the tasks' checks on known work, or judge a workspace; exit 1 on failure."""

    task: str = flag("", "only this task (default: all)")
    workspace: str = flag("", "judge this folder, in a sandbox where there is one")
    trajectory: str = flag(
        "",
        "a trial's trajectory.jsonl or OpenCode's event log, for the checks that need one",
    )
    cases: str = flag(
        "", "judge all cases of this folder (TASK/CASE) and print a table"
    )
    jobs: int = flag(2, "cases judged at once")
    json: bool = switch(_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorFlags:
    """Show what this machine can run, and how to get what it lacks."""

    json: bool = switch(_JSON)
    verify: bool = switch("read every file of the cache; exit 1 if one is damaged")
    cluster: str = flag("", "examine these hosts instead, as for `bench --cluster`")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchSelfFlags:
    """Measure the harness itself: exactness of samples, overhead, bias."""

    pairs: int = flag(
        8, "interleaved pairs of llamatrix and llama-bench by hand", least=1, most=1000
    )
    long_run_s: int = flag(
        22,
        "length in seconds of the long process, whose harness share is reported",
        least=1,
        most=86_400,
    )
    profile: str = flag(
        "", "measure a cell of this profile by hand too, recorded and resumable"
    )
    model: str = flag("qwen35-27b", "with --profile: which model, by its key")
    budget: str = flag(
        "25m", "with --profile: start no process that would end after this time"
    )
    weights_dir: str = flag("", WEIGHTS_DIR)
    cluster: str = flag(
        "", "compare a cell through these hosts with the same here, as for `bench`"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CrossTalkFlags(WeightsFlags):
    """Measure whether a busy card changes what another card of this host does."""

    pairs: int = flag(
        5, "pairs of processes, alone and beside the others", least=2, most=100
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SelftestFlags:
    """Prove the verdict on itself: A/A, known-slow and broken, real and simulated."""

    quick: bool = switch("one real run of each kind and fewer simulations")
    simulate: bool = switch("simulations only, no real run")


@dataclass(frozen=True, kw_only=True, slots=True)
class DocsFlags:
    """Write the references of docs/ from the types and build the site."""

    references: bool = switch("only rewrite docs/reference/ from the types")


@dataclass(frozen=True, kw_only=True, slots=True)
class TestFlags:
    """Run the tests."""

    all: bool = switch("also the slow tests: compiler, real programs")
    long: bool = switch("only the tests that wait for minutes, with what they print")
    update_golden: bool = switch("rewrite the golden files")


@dataclass(frozen=True, kw_only=True, slots=True)
class SchemaFlags:
    """Print the JSON Schema of matrix.toml."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BuildFlags(SelectFlags):
    """Compile the llama.cpp builds that the profile's cells need."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LintFlags:
    """Check style, types and dead code with ruff, mypy and vulture."""
