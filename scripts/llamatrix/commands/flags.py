"""The flags of the commands: names, defaults and help, as Invoke shows them.

Imports nothing heavy: `tasks.py` reads it for every command. A field without a default
is an argument that must be given. Numbers reach us as text: Invoke would answer a word
in their place with a traceback.
"""

import inspect
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, TypeVar

_HELP = "help"
T = TypeVar("T")


def flag(default: T, text: str, *, least: int = 0, most: int = 2**31 - 1) -> T:
    """A flag of a command: its default and its help; a number has a least and a most."""
    about = {_HELP: text, "least": least, "most": most}
    made: T = field(default=default, metadata=about)
    return made


def argument(text: str) -> Any:  # noqa: ANN401
    """A flag that must be given."""
    return field(metadata={_HELP: text})


def help_of(kind: type) -> dict[str, str]:
    return {one.name: one.metadata[_HELP] for one in fields(kind)}


def parameters_of(kind: type) -> list[inspect.Parameter]:
    """The flags as parameters of a function, for whoever reads a signature."""
    return [
        inspect.Parameter(
            one.name,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
            default=_shown_default(one),
        )
        for one in fields(kind)
    ]


def _shown_default(one: "Field[Any]") -> object:
    if one.default is MISSING:
        return inspect.Parameter.empty
    return str(one.default) if is_number(one) else one.default


def is_number(one: "Field[Any]") -> bool:
    return type(one.default) in (int, float)


_PROFILE = "a profile of matrix.toml (default: what fits this machine)"
_CELLS = "only cells whose id matches this glob, e.g. 'speed/qwen35-*'"
WEIGHTS_DIR = "a folder of your own in which published GGUFs are looked for first"
DEFAULT_SET = "blog-2026-04-05"
"""The benchmark that this project reproduces."""
_AGAINST = "a set of reports/published/, or a TOML file of that form"
_HOST = "records of this host class (default: this machine's)"
_RECORDS = "a folder with records/ of another place, e.g. reports/examples/h200"
_JSON = "print one JSON document"


@dataclass(frozen=True, kw_only=True, slots=True)
class Nothing:
    """A command without flags."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Selecting:
    profile: str = flag("", _PROFILE)
    cells: str = flag("", _CELLS)


@dataclass(frozen=True, kw_only=True, slots=True)
class Planning(Selecting):
    again: int = flag(0, "additional repeats of every cell", most=1000)
    retry: bool = flag(default=False, text="measure again what failed before")
    json: bool = flag(default=False, text=_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Weighing(Selecting):
    weights_dir: str = flag("", WEIGHTS_DIR)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measuring(Weighing):
    again: int = flag(0, "additional repeats of every cell", most=1000)
    retry: bool = flag(default=False, text="measure again what failed before")
    dry_run: bool = flag(default=False, text="only show what would be done")


@dataclass(frozen=True, kw_only=True, slots=True)
class Trying(Measuring):
    any_template: bool = flag(
        default=False, text="run even with a template that fails essential cases"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Locking:
    check: bool = flag(default=False, text="write nothing; exit 1 on a difference")
    python: bool = flag(
        default=False, text="resolve requirements.txt instead, with hashes"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Serving:
    model: str = flag("", "a model of the profile, by its key (default: its first)")
    pin: str = flag("", "a pin of matrix.toml (default: the profile's first)")
    profile: str = flag("", _PROFILE)
    weights_dir: str = flag("", WEIGHTS_DIR)
    port: int = flag(
        0, "listen on this port of 127.0.0.1 (default: any free one)", most=65535
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Templating:
    model: str = flag("", "check what this model is served with (default: all known)")
    pin: str = flag("", "a pin of matrix.toml (default: current; for all, april too)")
    template: str = flag("", "check this file instead")
    json: bool = flag(default=False, text=_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Fitting:
    model: str = flag("", "a model's key, or a .gguf file (default: the profile's)")
    vram: str = flag("", "the card's memory, e.g. 24GiB (default: the card here)")
    reserve: str = flag("1GiB", "keep so much of the card free for other programs")
    profile: str = flag("synthetic", "whose pins, models and cache types")
    json: bool = flag(default=False, text=_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Contexting:
    model: str = flag("", "a model of the profile, by its key (default: its first)")
    profile: str = flag("", _PROFILE)
    pin: str = flag("", "a pin of matrix.toml (default: the profile's first)")
    vram: str = flag(
        "", "take no more of the card than this, e.g. 24GiB (default: all)"
    )
    keep_speed: str = flag("0.8", "least share of the generation speed at 512 tokens")
    most: int = flag(0, "look at no context above so many tokens (default: trained)")
    budget: str = flag("30m", "fill no context that would end after this time")
    weights_dir: str = flag("", WEIGHTS_DIR)
    again: bool = flag(default=False, text="search again what is recorded already")
    json: bool = flag(default=False, text=_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tabulating:
    profile: str = flag("", "show only this profile's tables (default: all)")
    records: str = flag("", _RECORDS)
    out: str = flag("", "also copy these tables and their records into this folder")


@dataclass(frozen=True, kw_only=True, slots=True)
class Opining:
    url: str = argument("an OpenAI-compatible endpoint, e.g. http://127.0.0.1:8080")
    model: str = argument("the model to ask, by the endpoint's name for it")
    key_env: str = flag("", "the environment variable with the endpoint's key")
    profile: str = flag("", "only trials of this profile (default: all)")
    cells: str = flag(
        "", "only cells whose id matches this glob, e.g. 'agent/qwen35-*'"
    )
    again: bool = flag(default=False, text="ask again what was asked before")


@dataclass(frozen=True, kw_only=True, slots=True)
class Regrading:
    profile: str = flag("", "only trials of this profile (default: all)")
    cells: str = flag(
        "", "only cells whose id matches this glob, e.g. 'agent/qwen35-*'"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparing:
    against: str = flag(DEFAULT_SET, _AGAINST)
    profile: str = flag("", _PROFILE)
    host: str = flag("", _HOST)
    records: str = flag("", _RECORDS)
    json: bool = flag(default=False, text=_JSON)
    bandwidth: bool = flag(
        default=False, text="first measure this machine's memory bandwidth"
    )
    selftest: bool = flag(
        default=False, text="instead simulate how often a faithful reproduction differs"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Auditing:
    set: str = argument("a name in reports/published/, or a TOML file of that form")
    json: bool = flag(default=False, text=_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Certifying:
    against: str = flag("", f"{_AGAINST} (default: {DEFAULT_SET}, or as certified)")
    profile: str = flag("", _PROFILE)
    host: str = flag("", _HOST)
    records: str = flag("", _RECORDS)
    verify: str = flag("", "recompute this certificate; exit 1 where it differs")


@dataclass(frozen=True, kw_only=True, slots=True)
class Judging:
    file: str = argument("JSON lines: pair, arm, value, unit; order, process")
    margin: str = flag("", "the loss that matters, as a fraction (default: by unit)")
    looks: str = flag("", "planned looks where the file grows, e.g. 5,8,12")
    json: bool = flag(default=False, text=_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Proving:
    model: str = flag("qwen35-27b", "which model of the profile, by its key")
    profile: str = flag("gpu-proof", "full-size made-up weights and a CUDA build")
    budget: str = flag("25m", "start no process that would end after this time")
    step: str = flag("all", "build, weights, measure or all; each goes on where cut")
    weights_dir: str = flag("", WEIGHTS_DIR)
    keep: bool = flag(default=False, text="do not delete the weights at the end")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskChecking:
    task: str = flag("", "only this task (default: all)")
    workspace: str = flag("", "judge this folder, in a sandbox where there is one")
    trajectory: str = flag("", "OpenCode's event log, for the checks that need one")
    cases: str = flag("", "judge all cases of this folder (TASK/CASE), print a table")
    jobs: int = flag(2, "cases judged at once")
    json: bool = flag(default=False, text=_JSON)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reporting:
    json: bool = flag(default=False, text=_JSON)
    verify: bool = flag(
        default=False, text="read every file of the cache; exit 1 where one is damaged"
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairing:
    pairs: int = flag(
        8, "interleaved pairs of llamatrix and llama-bench by hand", least=1, most=1000
    )
    long: int = flag(
        22,
        "seconds of the process whose share of harness is told",
        least=1,
        most=86_400,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SelfTesting:
    quick: bool = flag(default=False, text="one real run of each kind, fewer simulated")
    simulate: bool = flag(default=False, text="no real run: the simulations alone")


@dataclass(frozen=True, kw_only=True, slots=True)
class Testing:
    all: bool = flag(default=False, text="also the slow tests: compiler, real programs")
    update_golden: bool = flag(default=False, text="rewrite the golden files")
