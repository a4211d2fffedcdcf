"""Synthetic trials: the published amounts, in records of the real shape."""

from collections.abc import Sequence
from pathlib import Path

import msgspec
from tests.records.made import made_record

from llamatrix.agents.turn_outcome import (
    Answered,
    EndpointDied,
    NotRun,
    TurnOutcome,
    WhyNotRun,
)
from llamatrix.config.matrix import Network, WeightsKind
from llamatrix.measure.telemetry import CpuSample, GpuSample, Telemetry
from llamatrix.nvml import Gpu
from llamatrix.proxy.call import CallTimes
from llamatrix.proxy.totals import Totals
from llamatrix.proxy.wire_api import Breakdown
from llamatrix.records.store import Store
from llamatrix.records.trial_record import (
    AGENT,
    Served,
    ServerMemory,
    TemplateFacts,
    TrialFacts,
    TrialRecord,
)
from llamatrix.trials.checks.finding import Finding, Judgement, State, verdict_of
from llamatrix.trials.checks.quality import Aspect, Flaw, Quality
from llamatrix.trials.checks.tdd import TddOrder
from llamatrix.trials.trial_result import (
    Broken,
    Correct,
    Incorrect,
    TrialOutcome,
    TrialResult,
    TurnResult,
    Undecided,
)

CARD = Gpu(
    name="NVIDIA GeForce RTX 4090",
    memory_bytes=24 * 2**30,
    driver="580.95",
    compute_capability="8.9",
    power_cap_w=450.0,
)
HTTPX, IMAGES = "httpx-post", "gemini-images"
_AMOUNTS = {
    ("gemma4-26b-a4b", HTTPX): (17847, 1623, 4.11, 11.98, 10, 7),
    ("gemma4-26b-a4b", IMAGES): (23204, 3435, 5.09, 25.56, 13, 11),
    ("gemma4-31b", HTTPX): (16618, 2903, 11.34, 77.07, 10, 8),
    ("gemma4-31b", IMAGES): (25070, 5968, 18.48, 169.53, 16, 14),
    ("qwen35-35b-a3b", HTTPX): (16145, 7564, 5.08, 55.32, 13, 11),
    ("qwen35-35b-a3b", IMAGES): (92375, 32904, 30.23, 248.75, 30, 28),
    ("qwen35-27b", HTTPX): (15043, 2867, 6.08, 63.91, 9, 7),
    ("qwen35-27b", IMAGES): (24385, 11824, 11.14, 265.00, 18, 14),
}
"""As published: prompt and generated tokens, both times, API and tool calls."""
_CONTEXTS = {
    "qwen35-27b": 130672,
    "qwen35-35b-a3b": 200000,
    "gemma4-26b-a4b": 256000,
    "gemma4-31b": 65336,
}
NO_SANDBOX = NotRun(
    why=WhyNotRun.NO_SANDBOX,
    reason="bwrap: setting up uid map: Permission denied",
    remedy="allow unprivileged user namespaces",
)
CHECKS = ("tests-pass", "no-mocks", "images-made")


def judged(
    failed: Sequence[str] = (), unknown: Sequence[str] = (), *, task: str = HTTPX
) -> Judgement:
    findings = tuple(
        Finding(
            check=check,
            state=State.FAILED
            if check in failed
            else State.NOT_APPLICABLE
            if check in unknown
            else State.PASSED,
            reason=f"what {check} has seen",
        )
        for check in CHECKS
    )
    return Judgement(task=task, verdict=verdict_of(findings), findings=findings)


def turn(
    amounts: tuple[int, int, float, float, int, int],
    *,
    share: float = 1.0,
    judgement: Judgement | None = None,
    outcome: TurnOutcome | None = None,
    disagreements: tuple[str, ...] = (),
) -> TurnResult:
    """A share of a trial's published amounts."""
    prompt, generated, prompt_s, generation_s, api, tools = amounts
    titles = 1 if share == 1.0 else 0
    return TurnResult(
        outcome=outcome or Answered(),
        seconds=share * (prompt_s + generation_s) + 10.0,
        first_call_s=1.5,
        calls=(
            CallTimes(
                kind="main",
                begun_s=1.5,
                first_token_s=2.0,
                ended_s=9.0,
                prompt_tokens=prompt,
                generated_tokens=generated,
                tool_calls=("write",),
            ),
        ),
        totals=Totals(
            api_calls=round(share * api),
            title_calls=titles,
            compaction_calls=0,
            subagent_calls=0,
            other_calls=0,
            failed_calls=0,
            untimed_calls=0,
            tool_calls=round(share * tools),
            prompt_tokens=round(share * prompt),
            cached_tokens=5000,
            generated_tokens=round(share * generated),
            prompt_s=share * prompt_s,
            generation_s=share * generation_s,
        ),
        disagreements=disagreements,
        tool_uses=round(share * tools),
        failed_tool_uses=0,
        judgement=judgement,
        judged_s=4.0,
    )


def made_turns(
    model_key: str, task: str, outcome: TrialOutcome, factor: float
) -> tuple[TurnResult, ...]:
    """As many as the outcome says; all but the last failed `tests-pass`."""
    prompt, generated, *rest = _AMOUNTS[model_key, task]
    prompt_s, generation_s, api, tools = rest
    amounts = (
        *(round(prompt * factor), round(generated * factor)),
        *(prompt_s * factor, generation_s * factor, int(api), int(tools)),
    )
    match outcome:
        case Correct(turn=count) | Undecided(turn=count) | Broken(turn=count):
            pass
        case Incorrect(turns=count):
            pass
        case _:
            return ()
    last = {
        "correct": judged(task=task),
        "incorrect": judged(["tests-pass"], task=task),
        "undecided": judged(unknown=["images-made"], task=task),
        "broken": None,
    }[str(outcome.__struct_config__.tag)]
    cause = outcome.cause if isinstance(outcome, Broken) else None
    share = 1.0 / count
    return (
        *(
            turn(amounts, share=share, judgement=judged(["tests-pass"], task=task))
            for _ in range(count - 1)
        ),
        turn(amounts, share=share, judgement=last, outcome=cause),
    )


def made_quality(rules: Sequence[tuple[Aspect, str]] = ()) -> Quality:
    return Quality(
        scripts=1,
        test_files=1,
        code_lines=40,
        functions=2,
        classes=0,
        documented=1,
        typed=2,
        api_calls=1,
        guarded_api_calls=0,
        uses_pathlib=True,
        flaws=tuple(
            Flaw(aspect=aspect, rule=rule, file="main.py", line=1, text=rule)
            for aspect, rule in rules
        ),
    )


UNGUARDED = (Aspect.ERROR_HANDLING, "unguarded-api-call")
DEAD = (Aspect.STRUCTURE, "dead-file")
KEY = (Aspect.CRITICAL, "hard-coded-key")


def made_trial(  # noqa: PLR0913
    model_key: str = "qwen35-27b",
    task: str = HTTPX,
    *,
    outcome: TrialOutcome | None = None,
    turns: tuple[TurnResult, ...] | None = None,
    trial: int = 1,
    factor: float = 1.0,
    weights: WeightsKind = WeightsKind.HUB,
    host_slug: str = "rtx-4090-abc123",
    gpus: tuple[Gpu, ...] = (CARD,),
    script: str | None = None,
    quality: Quality | None = None,
    tdd: TddOrder | None = None,
    digest: str = "",
    spec_digest: str = "5" * 64,
    measured_at: str = "2026-11-20T12:00:00.000+00:00",
) -> TrialRecord:
    speed = made_record(model_key=model_key, weights=weights, host_slug=host_slug)
    ended = outcome or Correct(turn=1)
    made = turns if turns is not None else made_turns(model_key, task, ended, factor)
    spent_s = sum(one.seconds + one.judged_s for one in made)
    kind = "" if weights is WeightsKind.HUB else f".{weights}"
    return TrialRecord(
        cell=TrialFacts(
            id=f"agent/{model_key}{kind}/april/cuda/april/{task}",
            digest=digest or ("e" if script else "d") * 64,
            spec_digest=spec_digest,
            model_key=model_key,
            model_name=speed.cell.model_name,
            architecture=speed.cell.architecture,
            quant=speed.cell.quant,
            pin="april",
            build="cuda",
            agent="published",
            task=task,
            network=Network.ONLINE,
            context_tokens=_CONTEXTS[model_key],
            max_turns=3,
            script=script,
        ),
        trial=trial,
        result=TrialResult(
            outcome=ended,
            turns=made,
            tdd=(
                tdd or TddOrder(test_first=True, failed_before=False, passed_after=True)
            )
            if made
            else None,
            quality=(quality or made_quality([UNGUARDED])) if made else None,
            tokens=Breakdown(
                system=2500,
                tools=6000,
                user=150,
                assistant=900,
                reasoning=1548,
                tool_results=4000,
            )
            if made
            else None,
            seconds=spent_s + 3.5,
            analysed_s=0.5,
            harness_s=3.0,
        ),
        agent_version="1.3.2",
        context7="2.1.6",
        uv="0.11.3",
        served=None
        if isinstance(ended, NotRun)
        else Served(
            weights=speed.weights,
            template=TemplateFacts(
                template="qwen35.jinja",
                template_sha256="7" * 64,
                cases=40,
                failed=("multiple-systems",),
                essentials_passed=True,
            ),
            argv=("llama-server", "--model", "weights.gguf", "--parallel", "1"),
            memory=ServerMemory(loaded_rss_bytes=2**30, peak_rss_bytes=3 * 2**29),
            telemetry=Telemetry(
                cpu=(CpuSample(at_s=1.0, load_percent=12.5),),
                gpu_begin=(GpuSample(at_s=0.5, energy_mj=10**9),) if gpus else (),
                gpu=(
                    GpuSample(at_s=1.0, own_bytes=21 * 10**9, energy_mj=10**9 + 10**5),
                    GpuSample(
                        at_s=0.5 + spent_s,
                        own_bytes=2 * 10**10,
                        energy_mj=10**9 + round(300_000 * spent_s),
                    ),
                )
                if gpus
                else (),
            ),
            trajectory=f"trajectories/{model_key}-{task}-{trial}",
        ),
        measured_at=measured_at,
        locked=speed.locked,
        build=msgspec.structs.replace(speed.build, backend="cuda" if gpus else "cpu"),
        host=msgspec.structs.replace(speed.host, gpus=gpus),
        made_by="llamatrix 0.1.0",
    )


def published_trials(*, script: str | None = None) -> list[TrialRecord]:
    """What was published, as one trial of each; four models, two prompts."""
    turns = {"gemma4-26b-a4b": 3, "qwen35-35b-a3b": 2}
    return [
        made_trial(
            *(model_key, task),
            outcome=Correct(turn=turns.get(model_key, 1) if task == IMAGES else 1),
            script=script,
        )
        for model_key, task in _AMOUNTS
    ]


def several_trials() -> list[TrialRecord]:
    """Three of one cell that differ, and one of every way not to be scored."""
    died = EndpointDied(error="connection | reset\nby peer")
    told = ("prompt tokens: 15043 by the tap, 15050 by /metrics",)
    odd = turn(_AMOUNTS["qwen35-27b", HTTPX], judgement=judged(), disagreements=told)
    return [
        made_trial(trial=1, turns=(odd,)),
        made_trial(trial=2, outcome=Correct(turn=2), factor=1.2),
        made_trial(trial=3, outcome=Incorrect(turns=3), factor=2.0),
        made_trial(trial=4, outcome=Broken(turn=2, cause=died), factor=9.0),
        made_trial(trial=5, outcome=NO_SANDBOX),
        made_trial(
            *("qwen35-27b", IMAGES),
            outcome=Undecided(turn=1),
            quality=made_quality([DEAD, KEY, KEY]),
        ),
        made_trial("gemma4-31b", outcome=NO_SANDBOX),
    ]


def stored_trials(reports: Path, records: Sequence[TrialRecord]) -> Path:
    """The folder of the reports, with these records in it."""
    store = Store(reports=reports, kind=AGENT)
    for record in records:
        store.append(record)
    return reports
