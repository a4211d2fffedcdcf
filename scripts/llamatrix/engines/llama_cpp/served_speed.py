"""Measure a sweep on llama-server: one client or several, with drafts or without.

llama-bench cannot draft. Speeds are computed here from tokens and milliseconds: the
server's own `predicted_per_second` counts the first token at one pin and not at another.
"""

import re
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import PromptKind, Server
from llamatrix.engines.llama_cpp.output import DraftCounters, parse_draft_counters
from llamatrix.engines.llama_cpp.server import (
    CONTEXT_STEP,
    Serving,
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
    Streams,
    TimedOut,
)
from llamatrix.engines.protocol import (
    Bench,
    Launch,
    Served,
    StartupError,
    StartupFailure,
    Timeouts,
)
from llamatrix.redaction import without_folders
from llamatrix.shell import TAIL_LINES, Ended, read_log
from llamatrix.web import LateAnswerError, NoAnswerError, WrongAnswerError

_ROOM_TOKENS = 64
"""Beyond prompt and answer: what the last draft reserves."""
_TOKENIZE_TIMEOUT_S = 60.0
_DRAFTED_TOKENS = 32
"""Of an answer that is not measured: long enough for a draft, which proves that it drafts."""
_NO_HEAD = "model doesn't contain MTP layers"
_PROMPTS = Path(__file__).parent / "prompts"
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


class _Chunk(msgspec.Struct):
    timings: _Timings | None = None
    """In the last one."""


_CHUNK = msgspec.json.Decoder(_Chunk)
"""Made before there are threads, for the reason in `records/store.py`."""


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
    """One request: times by the client's clock, which all clients share."""

    timings: _Timings
    begin_ns: int
    first_ns: int
    end_ns: int


_Round = tuple[_Answer, ...]
"""The answers to all clients, which ask at the same time."""


def measure_served(
    bench: Bench,
    served: Served,
    tests: Sequence[SpeedTest],
    *,
    on_result: Callable[[SpeedResult], None],
    on_progress: Callable[[str], None],
) -> Ended:
    """Start one server and measure every test on it; each gets an outcome.

    All have the same concurrency: the server has a slot for each client.
    """
    begin = time.monotonic()
    launch = launch_for(bench, served, tests)
    process = Process.started((bench.program.name, "-m", bench.weights.name))
    log = bench.log.with_name(f"{bench.log.name}-{process.id}.log")
    rest = list(tests)

    def settle(outcome: Outcome) -> None:
        on_result(SpeedResult(test=rest.pop(0), outcome=outcome, process=process))

    try:
        with running(
            launch, log=log, timeouts=Timeouts(ready_s=bench.sweep.timeout_s)
        ) as serving:
            process = msgspec.structs.replace(
                process, argv=argv_without_paths(serving.argv, bench)
            )
            while rest:
                on_progress(rest[0].name)
                for outcome in _outcomes(serving, bench, served, _same_prompt(rest)):
                    settle(outcome)
    except StartupError as error:
        tail = log_tail(log)
        while rest:
            settle(start_outcome(error, tail))
    except (NoAnswerError, WrongAnswerError) as error:
        tail = (str(error), *log_tail(log))
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


def launch_for(bench: Bench, served: Served, tests: Sequence[SpeedTest]) -> Launch:
    """Return the launch of a server with the sweep's flags and room for the tests."""
    sweep = bench.sweep
    needed = max(test.n_depth + test.n_prompt + test.n_gen for test in tests)
    needed += _ROOM_TOKENS + (served.draft.n_max or 0 if served.draft else 0)
    clients = tests[0].concurrency
    needed = clients * -(-needed // CONTEXT_STEP) * CONTEXT_STEP
    return Launch(
        program=bench.program,
        weights=bench.weights,
        alias=served.alias,
        model=msgspec.structs.replace(
            served.model, ctx_size=needed, chat_template_file=None
        ),
        server=Server(
            parallel=clients,
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


def argv_without_paths(argv: Sequence[str], bench: Bench) -> tuple[str, ...]:
    """Return the command line with file names in place of paths."""
    return (
        bench.program.name,
        *(Path(word).name if "/" in word else word for word in argv[1:]),
    )


def _same_prompt(tests: Sequence[SpeedTest]) -> list[SpeedTest]:
    """Return the first tests, those that one kind of request answers.

    A request reads a prompt and generates behind it.
    """
    prompt = _prompt_of(tests[0])
    first: list[SpeedTest] = []
    for test in tests:
        if _prompt_of(test) != prompt:
            break
        first.append(test)
    return first


def _prompt_of(test: SpeedTest) -> tuple[int, PromptKind]:
    return test.n_prompt or test.n_depth, test.prompt


def log_tail(log: Path, about: str = "") -> tuple[str, ...]:
    """Return the log's last lines, those that match, without folders of this machine."""
    lines = [line for line in read_log(log).splitlines() if re.search(about, line)]
    return tuple(map(without_folders, lines[-TAIL_LINES:]))


def start_outcome(error: StartupError, tail: tuple[str, ...]) -> Outcome:
    if error.failure is StartupFailure.MEMORY:
        return OutOfMemory(exit_code=1, tail=tail, stage=Stage.LOADING)
    if error.failure is StartupFailure.SLOW:
        return TimedOut(after_s=0, tail=tail)
    if any(_NO_HEAD in line for line in (error.log_line, *tail)):
        return NotDrafting(reason="the weights have no prediction head", tail=tail)
    return Crashed(
        exit_code=1, tail=(*filter(None, [without_folders(error.log_line)]), *tail)
    )


def _outcomes(
    serving: Serving, bench: Bench, served: Served, tests: Sequence[SpeedTest]
) -> Iterator[Outcome]:
    """Yield an outcome for each of the tests, which share a prompt."""
    n_prompt, kind = _prompt_of(tests[0])
    prompt = _prompt(serving, n_prompt, kind)
    lengths = [test.n_gen for test in tests if test.n_gen]
    lengths = lengths or [_DRAFTED_TOKENS if served.draft else 2]
    clients = tests[0].concurrency
    runs = {
        n_gen: _run(serving, bench, prompt, n_gen, clients=clients) for n_gen in lengths
    }
    for test in tests:
        rounds, counters = runs[test.n_gen or lengths[0]]
        answers = [answer for one in rounds for answer in one]
        asked = test.n_gen or n_prompt
        done = next(
            (
                tokens
                for answer in answers
                if (tokens := _tokens(test, answer.timings)) != asked
            ),
            None,
        )
        if done is not None:
            what = "tokens generated" if test.n_gen else "prompt tokens processed"
            reason = f"{done} {what} where {asked} were asked"
            yield Invalid(reason=reason, tail=())
        else:
            yield _not_drafting(serving, served, counters) or Done(
                result=_sample(serving, bench, served, test, rounds, counters)
            )


def _tokens(test: SpeedTest, timings: _Timings) -> int:
    return timings.predicted_n if test.n_gen else timings.prompt_n


def _run(
    serving: Serving, bench: Bench, prompt: tuple[int, ...], n_gen: int, *, clients: int
) -> tuple[list[_Round], DraftCounters]:
    """Send the warm-up and the measured requests; count only over the measured."""
    warmup = bench.sweep.warmup_repetitions
    rounds = []
    before = _counters(serving)
    for number in range(warmup + bench.sweep.repetitions):
        if number == warmup:
            before = _counters(serving)
        requests = [
            {
                "prompt": prompt[client:] + prompt[:client],
                "n_predict": n_gen,
                "cache_prompt": False,
                "temperature": 0,
                "seed": number * clients + client,
                "ignore_eos": True,
                "logit_bias": [(token, False) for token in serving.end_tokens()],
                "stream": True,
            }
            for client in range(clients)
        ]
        ready = Barrier(clients)

        def ask(request: dict[str, object], ready: Barrier = ready) -> _Answer:
            ready.wait()
            return _ask(serving, request, timeout_s=bench.sweep.timeout_s)

        with ThreadPoolExecutor(clients) as pool:
            rounds.append(tuple(pool.map(ask, requests)))
    return rounds, _counters(serving).since(before)


def _ask(
    serving: Serving, request: Mapping[str, object], *, timeout_s: float
) -> _Answer:
    """Send one request and time its chunks: several may arrive for one step."""
    timings = first_ns = None
    begin_ns = time.perf_counter_ns()
    for line in serving.site.stream(
        "/completion", request, timeout_s=timeout_s, closing=True
    ):
        if line.startswith("data: {"):
            first_ns = first_ns or time.perf_counter_ns()
            try:
                chunk = _CHUNK.decode(line.removeprefix("data: "))
            except msgspec.MsgspecError as error:
                raise WrongAnswerError(f"/completion: {error}: {line[:300]}") from error
            timings = chunk.timings or timings
    if timings is None or first_ns is None:
        raise WrongAnswerError("/completion: the stream ended without timings")
    return _Answer(
        timings=timings,
        begin_ns=begin_ns,
        first_ns=first_ns,
        end_ns=time.perf_counter_ns(),
    )


def _counters(serving: Serving) -> DraftCounters:
    reply = serving.site.get("/metrics", timeout_s=_TOKENIZE_TIMEOUT_S)
    return parse_draft_counters(reply.text)


def _prompt(serving: Serving, count: int, kind: PromptKind) -> tuple[int, ...]:
    """Return as many tokens of our text, by the served vocabulary.

    Of a kind they are the last ones of its text, which asks to be continued; where that
    is too short it comes several times.
    """
    if kind is not PromptKind.MIXED:
        own = (_PROMPTS / f"{kind}.txt").read_text().rstrip("\n")
        once = tokenize(serving.site, own, timeout_s=_TOKENIZE_TIMEOUT_S)
        return (once * -(-count // len(once)))[-count:]
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
    return NotDrafting(
        reason=reason, tail=log_tail(serving.log, r"specul|draft|vocabs")
    )


def _duration(test: SpeedTest, answers: _Round) -> tuple[int, float]:
    """Return the tokens of a round, and its nanoseconds.

    Of one client by the server's clock. Of several it is the time that they share: until
    each has its first token, then from the first of these to the end of all answers.
    """
    timings = [answer.timings for answer in answers]
    tokens = sum(_tokens(test, one) - bool(test.n_gen) for one in timings)
    if len(answers) == 1:
        own = timings[0].predicted_ms if test.n_gen else timings[0].prompt_ms
        return tokens, 1e6 * own
    firsts = [answer.first_ns for answer in answers]
    if test.n_gen:
        return tokens, max(answer.end_ns for answer in answers) - min(firsts)
    return tokens, max(firsts) - min(answer.begin_ns for answer in answers)


def _sample(
    serving: Serving,
    bench: Bench,
    served: Served,
    test: SpeedTest,
    rounds: Sequence[_Round],
    counters: DraftCounters,
) -> SpeedSample:
    durations = [_duration(test, one) for one in rounds]
    speeds = [1e9 * tokens / ns for tokens, ns in durations]
    models = serving.site.get("/v1/models", timeout_s=_TOKENIZE_TIMEOUT_S).read(_Models)
    meta = next((one.meta for one in models.data if one.meta), _ModelMeta())
    number, _, commit = serving.props.build_info.partition("-")
    warmup = bench.sweep.warmup_repetitions
    measured = [answer for one in rounds[warmup:] for answer in one]
    return SpeedSample(
        test=test,
        depth_tokens=test.n_depth,
        concurrency=test.concurrency,
        warmup_repetitions=warmup,
        tokens=tuple(tokens for tokens, _ in durations),
        nanoseconds=tuple(max(1, round(ns)) for _, ns in durations),
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
        client_ns=tuple(
            max(answer.end_ns for answer in one)
            - min(answer.begin_ns for answer in one)
            for one in rounds
        ),
        drafting=Drafting(
            draft=served.draft,
            tokens=len(measured) * test.n_gen,
            decode_calls=counters.decode_calls,
            drafts=counters.drafts,
            drafted=counters.drafted,
            accepted=counters.accepted,
            accepted_by_position=counters.accepted_by_position,
            own_bytes=serving.memory().own_bytes,
        )
        if test.n_gen
        else None,
        streams=Streams(
            first_token_ns=tuple(one.first_ns - one.begin_ns for one in measured),
            tokens_per_second=tuple(
                1000 * (one.timings.predicted_n - 1) / one.timings.predicted_ms
                for one in measured
            ),
        )
        if test.n_gen
        else None,
        raw=msgspec.Raw(
            msgspec.json.encode([[answer.timings for answer in one] for one in rounds])
        ),
    )
