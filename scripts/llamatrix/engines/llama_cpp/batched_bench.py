"""llama-batched-bench: several sequences in one batch, the engine without a server.

It measures each size once and has no flag for repetitions, so it is asked for the same
number of sequences several times. `tests/captured/llama-batched-bench/` has its rows.
"""

import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from itertools import chain

import msgspec

from llamatrix import shell
from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import Sweep
from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.engines.llama_cpp.server import CONTEXT_STEP
from llamatrix.engines.outcome import (
    ContextTooLarge,
    Done,
    Invalid,
    Outcome,
    Process,
    SpeedResult,
    SpeedSample,
)
from llamatrix.engines.protocol import Bench
from llamatrix.errors import MeasureError
from llamatrix.measured_environment import measured_environment
from llamatrix.redaction import without_folders

_VERSION_TIMEOUT_S = 60
_SHORTEST_ANSWER = 2
"""Generated behind a prompt whose generation is not asked for."""
_SHOWN_CHARACTERS = 500
_ROUNDING = 0.02
_NO_CONTEXT = "failed to create the llama_context"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `--output-format jsonl`: a prompt and a generation behind it."""

    n_kv_max: int
    n_batch: int
    n_ubatch: int
    flash_attn: int
    is_pp_shared: int
    n_gpu_layers: int
    n_threads: int
    pp: int
    """Tokens of the prompt of each sequence."""
    tg: int
    """Tokens that each sequence generates."""
    pl: int
    """Sequences."""
    t_pp: float
    """Seconds; so is `t_tg`."""
    speed_pp: float
    """Tokens per second of all sequences; so is `speed_tg`."""
    t_tg: float
    speed_tg: float


def measure_batched(
    bench: Bench,
    tests: Sequence[SpeedTest],
    *,
    on_result: Callable[[SpeedResult], None],
    on_progress: Callable[[str], None],
) -> shell.Ended:
    """Measure every test, all of the same number of sequences, in one process.

    Each gets an outcome, as soon as all its repetitions are there.
    """
    _require_commit(bench)
    words = argv(str(bench.program), bench.weights.name, bench.sweep, tests)
    process = Process.started((bench.program.name, *words[1:]))
    rest = list(tests)
    lines: dict[tuple[int, int], list[str]] = {}
    repetitions = bench.sweep.warmup_repetitions + bench.sweep.repetitions
    unreadable: list[str] = []

    def settle(test: SpeedTest, outcome: Outcome) -> None:
        rest.remove(test)
        on_result(SpeedResult(test=test, outcome=outcome, process=process))

    def take(channel: shell.Channel, line: str) -> None:
        if channel is not shell.Channel.OUT or not llama_bench.is_row(line):
            return
        try:
            row = msgspec.json.decode(line, type=Row)
        except msgspec.MsgspecError as error:
            shown = without_folders(line[:_SHOWN_CHARACTERS])
            unreadable.append(f"{error}: {shown}")
            return
        if row.pl != tests[0].concurrency:
            return
        known = lines.setdefault((row.pp, row.tg), [])
        known.append(line)
        on_progress(f"pp{row.pp} tg{row.tg} x{row.pl}: {len(known)}/{repetitions}")
        if len(known) == repetitions:
            for test in [one for one in rest if _is_of(one, row)]:
                settle(test, outcome_of(known, test, bench))

    ended = shell.run(
        words,
        cwd=bench.weights.parent,
        timeout_s=bench.sweep.timeout_s * len(tests),
        env=measured_environment(bench.sweep.env),
        log=bench.log.with_name(f"{bench.log.name}-{process.id}.log"),
        on_line=take,
    )
    for test in list(rest):
        counts = [len(known) for (pp, _), known in lines.items() if pp == _prompt(test)]
        settle(test, _missing(ended, max(counts, default=0), repetitions, unreadable))
    return ended


def argv(
    program: str, weights: str, sweep: Sweep, tests: Sequence[SpeedTest]
) -> list[str]:
    """Return the command line for tests of one number of sequences.

    At the end it asks for one more row, of one sequence: a process may end before it
    has written its last (about one in twelve does), with exit code 0.
    """
    sequences = tests[0].concurrency
    prompts = dict.fromkeys(_prompt(test) for test in tests)
    answers = dict.fromkeys(test.n_gen for test in tests if test.n_gen)
    answers = answers or {_SHORTEST_ANSWER: None}
    steps = math.ceil((max(prompts) + max(answers)) / CONTEXT_STEP)
    repetitions = sweep.warmup_repetitions + sweep.repetitions
    flags: dict[str, object] = {
        "-m": weights,
        "--ctx-size": sequences * steps * CONTEXT_STEP,
        "--batch-size": sweep.batch_size,
        "--ubatch-size": sweep.ubatch_size,
        "--cache-type-k": sweep.cache_type_k,
        "--cache-type-v": sweep.cache_type_v,
        "--flash-attn": "on" if sweep.flash_attn else "off",
        "--n-gpu-layers": sweep.n_gpu_layers,
        "--threads": sweep.threads,
        "--n-cpu-moe": sweep.n_cpu_moe,
        "--override-tensor": ",".join(sweep.override_tensor) or None,
        "--split-mode": sweep.split_mode,
        "--tensor-split": ",".join(f"{share:g}" for share in sweep.tensor_split)
        or None,
        "--main-gpu": sweep.main_gpu,
        "-npp": ",".join(map(str, prompts)),
        "-ntg": ",".join(map(str, answers)),
        "-npl": ",".join(map(str, [*[sequences] * repetitions, 1])),
        "--output-format": "jsonl",
    }
    kept = ["--no-kv-offload"] if sweep.no_kv_offload else []
    return [program, *llama_bench.flag_words(flags), *kept]


def outcome_of(lines: Sequence[str], test: SpeedTest, bench: Bench) -> Outcome:
    """Return the outcome of a test whose repetitions are these rows."""
    rows = [msgspec.json.decode(line, type=Row) for line in lines]
    if wrong := list(dict.fromkeys(chain.from_iterable(map(_mistakes(bench), rows)))):
        shown = without_folders(lines[0][:_SHOWN_CHARACTERS])
        return Invalid(reason="; ".join(wrong), tail=(shown,))
    seconds = [row.t_tg if test.n_gen else row.t_pp for row in rows]
    speeds = [row.speed_tg if test.n_gen else row.speed_pp for row in rows]
    tokens = test.concurrency * (test.n_gen or test.n_prompt)
    return Done(
        result=SpeedSample(
            test=test,
            depth_tokens=test.n_depth,
            concurrency=test.concurrency,
            warmup_repetitions=bench.sweep.warmup_repetitions,
            tokens=(tokens,) * len(rows),
            nanoseconds=tuple(round(1e9 * each) for each in seconds),
            tokens_per_second=tuple(speeds),
            published_tps=statistics.fmean(speeds),
            published_sd_tps=statistics.stdev(speeds) if len(speeds) > 1 else 0.0,
            backend=bench.backend.upper() if bench.backend else "",
            build_commit=bench.commit[:9],
            threads=rows[0].n_threads,
            raw=msgspec.Raw(f"[{','.join(lines)}]".encode()),
        )
    )


def _mistakes(bench: Bench) -> Callable[[Row], Iterator[str]]:
    """Return what yields where a row differs from the sweep or contradicts itself."""
    sweep = bench.sweep
    asked = {
        "n_batch": sweep.batch_size,
        "n_ubatch": sweep.ubatch_size,
        "flash_attn": int(sweep.flash_attn),
        "n_gpu_layers": sweep.n_gpu_layers,
        "n_threads": sweep.threads,
        "is_pp_shared": 0,
    }

    def mistakes(row: Row) -> Iterator[str]:
        for key, wanted in asked.items():
            if wanted is not None and (found := getattr(row, key)) != wanted:
                yield f"{key} is {found} where {wanted} was asked"
        for tokens, seconds, speed in (
            (row.pl * row.pp, row.t_pp, row.speed_pp),
            (row.pl * row.tg, row.t_tg, row.speed_tg),
        ):
            if not math.isclose(speed * seconds, tokens, rel_tol=_ROUNDING):
                yield f"{speed} tokens/s are not {tokens} tokens in {seconds} s"

    return mistakes


def _missing(
    ended: shell.Ended, count: int, repetitions: int, unreadable: Sequence[str]
) -> Outcome:
    """Return the outcome of a test of which not all rows came."""
    if unreadable:
        return Invalid(reason="unreadable row", tail=tuple(unreadable[:5]))
    if ended.ok:
        reason = (
            f"{count} rows where {repetitions} were asked: llama-batched-bench ended "
            "before it had written them"
        )
        return Invalid(reason=reason, tail=ended.tail)
    outcome = llama_bench.classify(ended)
    if any(_NO_CONTEXT in line for line in ended.tail) and not ended.limit:
        return ContextTooLarge(exit_code=ended.returncode, tail=ended.tail)
    return outcome


def _prompt(test: SpeedTest) -> int:
    return test.n_prompt or test.n_depth


def _is_of(test: SpeedTest, row: Row) -> bool:
    return _prompt(test) == row.pp and test.n_gen in {0, row.tg}


def _require_commit(bench: Bench) -> None:
    """Its rows do not say which build printed them; `--version` does."""
    ended = shell.run(
        [str(bench.program), "--version"],
        timeout_s=_VERSION_TIMEOUT_S,
        env=measured_environment(bench.sweep.env),
        cwd=bench.weights.parent,
    )
    said = "\n".join(ended.tail)
    if not ended.ok or bench.commit[:9] not in said:
        raise MeasureError(
            f"{bench.program}: is not of build {bench.commit[:9]}; remove its folder "
            f"from the cache and build again\n{ended.complaint()}"
        )
