"""`invoke breakdown`: a recorded session beside llama-bench, part by part."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace

from llamatrix.commands.flags import BreakdownFlags
from llamatrix.commands.launching import cell_to_serve, launch_of
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.context import Context, load_context
from llamatrix.config.matrix import Server, Sweep
from llamatrix.engines.outcome import Done, SpeedResult, reason_of
from llamatrix.engines.protocol import Bench, Endpoint, Launch
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError
from llamatrix.host import this_host
from llamatrix.measure.breakdown import SentCall, Way, replay_as
from llamatrix.measure.disturbances import KernelWatch
from llamatrix.measure.replay import Script, script_of
from llamatrix.measuring import measuring
from llamatrix.progress import say
from llamatrix.project import user_path
from llamatrix.proxy.call import read_calls
from llamatrix.proxy.recording import read_recording
from llamatrix.report.views.breakdown import (
    BenchedTest,
    Breakdown,
    breakdown_text,
    work_of,
)
from llamatrix.units import json_text

_SEED = 0
_TIMEOUT_S = 3600
_KEEPS_SESSION = ("--cache-ram", "0")
"""What an earlier replay left is not found again."""
_KEEPS_NOTHING = (*_KEEPS_SESSION, "--ctx-checkpoints", "0")


def breakdown(flags: BreakdownFlags) -> str:
    """Replay the session in every way, run llama-bench on the same work; the tables."""
    folder = user_path(flags.replay)
    recording = read_recording(folder)
    recording = replace(recording, calls=recording.calls[: flags.calls])
    context = load_context(
        flags.profile, model=flags.model, weights_dir=flags.weights_dir
    )
    cell = cell_to_serve(context, pin=flags.pin)
    launch = launch_of(cell, context)
    log = context.project.logs / f"breakdown-{cell.weights_key}-{cell.pin_key}.log"
    recorded = {call.index: call for call in recording.calls}
    rounds: dict[Way, list[tuple[SentCall, ...]]] = {way: [] for way in Way}
    bench: dict[SpeedTest, list[float]] = {}
    draw = random.Random(_SEED)  # noqa: S311  # an order, no secret

    def replay_in(ways: Sequence[Way], script: Script, serving: Endpoint) -> None:
        for number, way in enumerate((ways[0], *draw.sample(ways, len(ways)))):
            sent = replay_as(
                *(way, recorded, serving),
                calls=script.calls if number else script.calls[:1],  # that warms up
                end_tokens=script.end_tokens,
                timeout_s=_TIMEOUT_S,
            )
            if number:
                rounds[way].append(sent)

    watch = KernelWatch()
    mark = watch.mark()
    script = Script(calls=(), end_tokens=())
    prompts: tuple[int, ...] = ()
    with measuring():
        for number in range(flags.rounds):
            say(f"{cell.id}: round {number + 1} of {flags.rounds}")
            with ENGINE.serve(
                replace(launch, extra=_KEEPS_SESSION), log=log
            ) as serving:
                script = script_of(recording, serving)
                ways = [way for way in Way if way is not Way.UNCACHED]
                replay_in(ways, script, serving)
            _require_same_work([rounds[way][-1] for way in ways])
            with ENGINE.serve(
                replace(launch, extra=_KEEPS_NOTHING), log=log
            ) as serving:
                replay_in([Way.UNCACHED], script, serving)
            prompts = tuple(len(call.tokens) for call in script.calls)
            tests = {
                test
                for way in (Way.GREEDY, Way.UNCACHED)
                for sent, count in zip(rounds[way][0], prompts, strict=True)
                for test in work_of(sent, count)
            }
            for test, seconds in _benched(cell, launch, context, tests):
                bench.setdefault(test, []).append(seconds)
    calls = {call.index: call for call in read_calls(folder)}
    found = Breakdown(
        model=cell.weights.shown_name(cell.model.name or cell.model_key),
        engine=f"llama.cpp {cell.locked.commit[:9]}, {cell.build_key} build",
        host=this_host().summary,
        recorded=tuple(calls[call.index] for call in script.calls),
        prompts=prompts,
        rounds={way: tuple(own) for way, own in rounds.items()},
        foreign_percent=watch.since(mark).foreign_percent,
        bench=tuple(
            BenchedTest(test=test, seconds=tuple(own)) for test, own in bench.items()
        ),
    )
    return json_text(found) if flags.json else breakdown_text(found)


def _require_same_work(ways: Sequence[tuple[SentCall, ...]]) -> None:
    """MeasureError where the ways processed other tokens: their seconds then differ."""
    work = {
        tuple((call.index, call.timings.prompt_n) for call in calls) for calls in ways
    }
    if len(work) > 1:
        shown = "; ".join(map(str, sorted(work)))
        raise MeasureError(
            "the server took different parts of the same prompts from its cache (call "
            f"and tokens processed): {shown}"
        )


def _benched(
    cell: Cell, launch: Launch, context: Context, tests: Iterable[SpeedTest]
) -> list[tuple[SpeedTest, float]]:
    """Run llama-bench once for every test, after a warm-up; the seconds of each."""
    found = []

    def keep(result: SpeedResult) -> None:
        if not isinstance(result.outcome, Done):
            name, why = result.test.name, reason_of(result.outcome)
            raise MeasureError(f"llama-bench {name}: {why}")
        found.append((result.test, result.outcome.result.nanoseconds[-1] / 1e9))

    bench = Bench(
        program=launch.program.with_name("llama-bench"),
        weights=launch.weights,
        commit=cell.locked.reported_commit,
        fork=cell.locked.fork,
        sweep=_sweep(launch.server),
        backend=cell.build.backend,
        log=context.project.logs / "breakdown-bench",
    )
    rest = sorted(tests, key=lambda test: (test.n_depth, test.n_prompt, test.n_gen))
    while rest:
        _, rest = ENGINE.bench(bench, rest, on_result=keep, on_progress=lambda _: None)
    return found


def _sweep(server: Server) -> Sweep:
    return Sweep(
        n_prompt=(),
        n_gen=(),
        repetitions=1,
        cache_type_k=server.cache_type_k,
        cache_type_v=server.cache_type_v,
        flash_attn=server.flash_attn,
        batch_size=server.batch_size,
        ubatch_size=server.ubatch_size,
        n_gpu_layers=server.n_gpu_layers,
        threads=server.threads,
        n_cpu_moe=server.n_cpu_moe,
        override_tensor=server.override_tensor,
        no_kv_offload=server.no_kv_offload,
        split_mode=server.split_mode,
        tensor_split=server.tensor_split,
        main_gpu=server.main_gpu,
        timeout_s=_TIMEOUT_S,
        env=server.env,
    )
