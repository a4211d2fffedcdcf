"""The flags of `invoke regress`: what a user may write, as it is written."""

from dataclasses import dataclass

from llamatrix.commands.flags import WEIGHTS_DIR, flag


@dataclass(frozen=True, kw_only=True, slots=True)
class Flags:
    baseline: str = flag("", "a pin of matrix.toml: what it was")
    candidate: str = flag(
        "", "a pin of matrix.toml: what it shall be (OpenCode: see --agent)"
    )
    baseline_build: str = flag("", "its CMake flags: a build (default: the profile's)")
    candidate_build: str = flag("", "the candidate's; equal pins compare the flags")
    baseline_sweep: str = flag("", "its flags at run time: a sweep of matrix.toml")
    candidate_sweep: str = flag("", "the candidate's")
    profile: str = flag(
        "",
        "models and weights (default: by what is compared and what this machine has)",
    )
    weights_dir: str = flag("", WEIGHTS_DIR)
    cells: str = flag("", "only cells whose id matches this glob, e.g. '*qwen35-27b*'")
    replay: str = flag("", "a recorded session to replay, in place of llama-bench")
    baseline_server: str = flag(
        "", "with --replay or --agent: its server's flags, by name"
    )
    candidate_server: str = flag("", "the candidate's (default: the profile's)")
    baseline_template: str = flag("", "vendor, one of templates/, or a .jinja file")
    candidate_template: str = flag("", "the candidate's; one that fails is BROKEN")
    metric: str = flag(
        "",
        "of tg,pp (tokens/s) and, replayed, ttft (a call's prompt time; default: all)",
    )
    budget: str = flag("20m", "how long to measure, e.g. 90s, 20m or 2h")
    margin: str = flag(
        "", "the loss that matters, as a fraction (default 0.02; ttft 0.05)"
    )
    max_background_load: float = flag(
        10.0, "foreign load a pair may have, % of all cores", most=100
    )
    again: bool = flag(default=False, text="begin a new series of pairs")
    dry_run: bool = flag(default=False, text="only show the plan")
    json: bool = flag(default=False, text="print one JSON document")
    junit: str = flag("", "also write JUnit XML into this file")
    markdown: str = flag("", "also write a pull-request comment into this file")
    agent: bool = flag(
        default=False, text="compare pass rates of agents, in place of llama-bench"
    )
    baseline_opencode: str = flag("", "with --agent: a version of matrix.toml, by name")
    candidate_opencode: str = flag("", "the candidate's (default: the profile's)")
    baseline_context7: str = flag("", "with --agent: a version of matrix.toml, by name")
    candidate_context7: str = flag("", "the candidate's (default: the profile's)")
    trials: int = flag(
        5, "with --agent: trials of each arm at each task", least=1, most=1000
    )
    tasks: str = flag("", "with --agent: of the profile's tasks, e.g. httpx-post")
