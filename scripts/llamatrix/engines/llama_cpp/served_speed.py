"""Measure a sweep on llama-server, one request at a time, with drafts or without.

llama-bench cannot draft. Speeds are computed here from tokens and milliseconds: the
server's own `predicted_per_second` counts the first token at one pin and not at another.
"""

import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import Server
from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.output import DraftCounters, parse_draft_counters
from llamatrix.engines.llama_cpp.server import (
    Serving,
    Timeouts,
    read_log,
    running,
    tokenize,
)
from llamatrix.engines.outcome import (
    Crashed,
    Done,
    Drafting,
    Invalid,
    NotDrafting,
    Outcome,
    OutOfMemory,
    Process,
    SpeedResult,
    SpeedSample,
    Stage,
    TimedOut,
)
from llamatrix.engines.protocol import Bench, Served, StartupError, StartupFailure
from llamatrix.shell import TAIL_LINES, Ended
from llamatrix.web import LateAnswerError, NoAnswerError, WrongAnswerError

_ROOM_TOKENS = 64
"""Beyond prompt and answer: what the last draft reserves."""
_TOKENIZE_TIMEOUT_S = 60.0
_PASSAGE = """\
{number}. The reader opens the file and checks the header before it trusts the length.
def read_block(path: Path, *, offset: int, count: int = {number}) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(count)
{{"name": "read_file", "arguments": {{"path": "src/block_{number}.py", "limit": 200}}}}
"""
"""Prose, code and a tool call: what an agent's prompt is made of."""


class _Timings(msgspec.Struct):
    prompt_n: int
    prompt_ms: float
    predicted_n: int
    predicted_ms: float


class _Completion(msgspec.Struct):
    timings: _Timings


class _Slot(msgspec.Struct):
    speculative: bool = False


class _ModelMeta(msgspec.Struct):
    n_params: int = 0
    size: int = 0


class _ServedModel(msgspec.Struct):
    meta: _ModelMeta | None = None


class _Models(msgspec.Struct):
    data: tuple[_ServedModel, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    timings: _Timings
    client_ns: int


def measure_served(
    bench: Bench,
    served: Served,
    tests: Sequence[SpeedTest],
    *,
    on_result: Callable[[SpeedResult], None],
    on_progress: Callable[[str], None],
) -> Ended:
    """Start one server and measure every test on it; each gets an outcome."""
    begin = time.monotonic()
    launch = _launch(bench, served, tests)
    process_id = uuid.uuid4().hex[:12]
    log = bench.log.with_name(f"{bench.log.name}-{process_id}.log")
    process = Process(
        id=process_id,
        argv=(bench.program.name, "-m", bench.weights.name),
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )
    rest = list(tests)

    def settle(outcome: Outcome) -> None:
        on_result(SpeedResult(test=rest.pop(0), outcome=outcome, process=process))

    try:
        with running(
            launch, log=log, timeouts=Timeouts(ready_s=bench.sweep.timeout_s)
        ) as serving:
            process = msgspec.structs.replace(
                process, argv=_without_paths(serving.argv, bench)
            )
            while rest:
                on_progress(rest[0].name)
                for outcome in _outcomes(serving, bench, served, _same_prompt(rest)):
                    settle(outcome)
    except StartupError as error:
        tail = tuple(read_log(log).splitlines()[-TAIL_LINES:])
        while rest:
            settle(_start_outcome(error, tail))
    except (NoAnswerError, WrongAnswerError) as error:
        tail = (str(error), *read_log(log).splitlines()[-TAIL_LINES:])
        late = isinstance(error, LateAnswerError)
        while rest:
            settle(
                TimedOut(after_s=bench.sweep.timeout_s, tail=tail)
                if late
                else Crashed(exit_code=1, tail=tail)
            )
    return Ended(
        argv=process.argv,
        returncode=0,
        limit=None,
        seconds=time.monotonic() - begin,
        out="",
        tail=(),
        peak_rss_bytes=0,
        log=log,
    )


def _launch(bench: Bench, served: Served, tests: Sequence[SpeedTest]) -> Launch:
    sweep = bench.sweep
    needed = max(test.n_depth + test.n_prompt + test.n_gen for test in tests)
    needed += _ROOM_TOKENS + (served.draft.n_max or 0 if served.draft else 0)
    return Launch(
        program=bench.program,
        weights=bench.weights,
        alias=served.alias,
        model=msgspec.structs.replace(
            served.model, ctx_size=needed, chat_template_file=None
        ),
        server=Server(
            parallel=1,
            batch_size=sweep.batch_size,
            ubatch_size=sweep.ubatch_size,
            cache_type_k=sweep.cache_type_k,
            cache_type_v=sweep.cache_type_v,
            flash_attn=sweep.flash_attn,
            n_gpu_layers=sweep.n_gpu_layers,
            fit=False,
            threads=sweep.threads,
            n_cpu_moe=sweep.n_cpu_moe,
            override_tensor=sweep.override_tensor,
            no_kv_offload=sweep.no_kv_offload,
            split_mode=sweep.split_mode,
            tensor_split=sweep.tensor_split,
            main_gpu=sweep.main_gpu,
            env=sweep.env,
        ),
        commit=bench.commit,
        draft=served.draft,
        draft_weights=served.draft_weights,
    )


def _without_paths(argv: Sequence[str], bench: Bench) -> tuple[str, ...]:
    """Return the command line with file names in place of paths."""
    return (
        bench.program.name,
        *(Path(word).name if "/" in word else word for word in argv[1:]),
    )


def _same_prompt(tests: Sequence[SpeedTest]) -> list[SpeedTest]:
    """Return the first tests, those that one kind of request answers.

    A request reads a prompt and generates behind it.
    """
    prompt = tests[0].n_prompt or tests[0].n_depth
    first: list[SpeedTest] = []
    for test in tests:
        if (test.n_prompt or test.n_depth) != prompt:
            break
        first.append(test)
    return first


def _start_outcome(error: StartupError, tail: tuple[str, ...]) -> Outcome:
    if error.failure is StartupFailure.MEMORY:
        return OutOfMemory(exit_code=1, tail=tail, stage=Stage.LOADING)
    if error.failure is StartupFailure.SLOW:
        return TimedOut(after_s=0, tail=tail)
    return Crashed(exit_code=1, tail=(*filter(None, [error.log_line]), *tail))


def _outcomes(
    serving: Serving, bench: Bench, served: Served, tests: Sequence[SpeedTest]
) -> Iterator[Outcome]:
    """Yield an outcome for each of the tests, which share a prompt."""
    n_prompt = tests[0].n_prompt or tests[0].n_depth
    prompt = _prompt(serving, n_prompt)
    lengths = [test.n_gen for test in tests if test.n_gen] or [2]
    runs = {n_gen: _run(serving, bench, prompt, n_gen) for n_gen in lengths}
    answers, _ = runs[lengths[0]]
    for test in tests:
        if test.n_gen:
            answers, counters = runs[test.n_gen]
            yield _generation_outcome(serving, bench, served, test, answers, counters)
        elif wrong := next(
            (
                one.timings.prompt_n
                for one in answers
                if one.timings.prompt_n != n_prompt
            ),
            None,
        ):
            yield Invalid(
                reason=f"{wrong} prompt tokens processed where {n_prompt} were sent",
                tail=(),
            )
        elif why := _not_drafting(serving, served, runs[lengths[0]][1]):
            yield why
        else:
            yield Done(
                result=_sample(
                    serving,
                    bench,
                    test,
                    [(n_prompt, one.timings.prompt_ms) for one in answers],
                    answers,
                    None,
                )
            )


def _run(
    serving: Serving, bench: Bench, prompt: tuple[int, ...], n_gen: int
) -> tuple[list[_Answer], DraftCounters]:
    """Send the warm-up and the measured requests; count only over the measured."""
    warmup = bench.sweep.warmup_repetitions
    answers = []
    before = _counters(serving)
    for number in range(warmup + bench.sweep.repetitions):
        if number == warmup:
            before = _counters(serving)
        request = {
            "prompt": prompt,
            "n_predict": n_gen,
            "cache_prompt": False,
            "temperature": 0,
            "seed": number,
            "ignore_eos": True,
            "logit_bias": [(token, False) for token in serving.end_tokens()],
        }
        begin = time.perf_counter_ns()
        reply = serving.site.post(
            "/completion", request, timeout_s=bench.sweep.timeout_s
        )
        client_ns = time.perf_counter_ns() - begin
        answers.append(
            _Answer(timings=reply.read(_Completion).timings, client_ns=client_ns)
        )
    return answers, _counters(serving).since(before)


def _counters(serving: Serving) -> DraftCounters:
    reply = serving.site.get("/metrics", timeout_s=_TOKENIZE_TIMEOUT_S)
    return parse_draft_counters(reply.text)


def _prompt(serving: Serving, count: int) -> tuple[int, ...]:
    """Return as many tokens of our text, by the served vocabulary."""
    text = ""
    tokens: tuple[int, ...] = ()
    number = 0
    while len(tokens) < count:
        passages = max(1, count // 100)
        text += "".join(_PASSAGE.format(number=number + one) for one in range(passages))
        number += passages
        tokens = tokenize(serving.site, text, timeout_s=_TOKENIZE_TIMEOUT_S)
    return tokens[:count]


def _not_drafting(
    serving: Serving, served: Served, counters: DraftCounters
) -> NotDrafting | None:
    """Say why the server did not draft, although it should; None where all is well."""
    if served.draft is None:
        return None
    slots = serving.site.get("/slots", timeout_s=_TOKENIZE_TIMEOUT_S)
    if not any(slot.speculative for slot in slots.read(tuple[_Slot, ...])):
        reason = "the server runs without speculative decoding"
    elif not counters.drafts:
        reason = "no draft was verified in any measured request"
    else:
        return None
    lines = read_log(serving.log).splitlines()
    told = [line for line in lines if "specul" in line or "draft" in line]
    return NotDrafting(reason=reason, tail=tuple(told[-TAIL_LINES:]))


def _generation_outcome(
    serving: Serving,
    bench: Bench,
    served: Served,
    test: SpeedTest,
    answers: Sequence[_Answer],
    counters: DraftCounters,
) -> Outcome:
    for answer in answers:
        if answer.timings.predicted_n != test.n_gen:
            return Invalid(
                reason=f"{answer.timings.predicted_n} tokens generated where "
                f"{test.n_gen} were asked",
                tail=(),
            )
    if why := _not_drafting(serving, served, counters):
        return why
    drafting = Drafting(
        draft=served.draft,
        tokens=bench.sweep.repetitions * test.n_gen,
        decode_calls=counters.decode_calls,
        drafts=counters.drafts,
        drafted=counters.drafted,
        accepted=counters.accepted,
        accepted_by_position=counters.accepted_by_position,
        own_bytes=serving.memory().own_bytes,
    )
    times = [(test.n_gen - 1, one.timings.predicted_ms) for one in answers]
    return Done(result=_sample(serving, bench, test, times, answers, drafting))


def _sample(
    serving: Serving,
    bench: Bench,
    test: SpeedTest,
    times: Sequence[tuple[int, float]],
    answers: Sequence[_Answer],
    drafting: Drafting | None,
) -> SpeedSample:
    """Build the sample from tokens and milliseconds of each request."""
    speeds = [1000 * tokens / ms for tokens, ms in times]
    models = serving.site.get("/v1/models", timeout_s=_TOKENIZE_TIMEOUT_S).read(_Models)
    meta = next((one.meta for one in models.data if one.meta), _ModelMeta())
    number, _, commit = serving.props.build_info.partition("-")
    return SpeedSample(
        test=test,
        depth_tokens=test.n_depth,
        warmup_repetitions=bench.sweep.warmup_repetitions,
        tokens=tuple(tokens for tokens, _ in times),
        nanoseconds=tuple(max(1, round(1e6 * ms)) for _, ms in times),
        tokens_per_second=tuple(speeds),
        published_tps=statistics.fmean(speeds),
        published_sd_tps=statistics.stdev(speeds) if len(speeds) > 1 else 0.0,
        backend=bench.backend.upper() if bench.backend else "",
        device="",
        build_commit=commit,
        build_number=int(number.strip("b") or 0),
        model_type="",
        model_bytes=meta.size,
        model_params=meta.n_params,
        threads=bench.sweep.threads or 0,
        client_ns=tuple(answer.client_ns for answer in answers),
        drafting=drafting,
        raw=msgspec.Raw(msgspec.json.encode([one.timings for one in answers])),
    )
