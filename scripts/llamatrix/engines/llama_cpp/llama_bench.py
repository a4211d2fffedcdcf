"""llama-bench: its command line, its rows, its failures.

`tests/captured/llama-bench/` has rows and messages of each pin.
"""

import itertools
import math
import re
import statistics
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import Backend, Sweep
from llamatrix.engines.outcome import (
    ContextTooLarge,
    Crashed,
    Nanoseconds,
    Outcome,
    OutOfMemory,
    SpeedSample,
    Stage,
    TimedOut,
    TokensPerSecond,
)
from llamatrix.errors import MeasureError
from llamatrix.shell import Ended

_MEMORY = re.compile(
    r"out of memory|failed to allocate|unable to allocate|cudaMalloc failed"
    r"|bad_alloc|cannot allocate memory|ErrorOutOfDeviceMemory",
    re.IGNORECASE,
)
_UNEXPLAINED = re.compile(r"failed to create context|failed to load model")
_ROUNDING = 0.02
_ON_THE_CPU = {"CPU", "BLAS"}
"""Backends that compute on the processor."""
_CONTEXT = re.compile(r"failed to create context|failed to initialize the context")


class _Row(msgspec.Struct, frozen=True, kw_only=True):
    """The keys of a row that are used; pins differ in the others and in their order."""

    build_commit: str
    build_number: int
    cpu_info: str = ""
    gpu_info: str = ""
    backends: str = ""
    cuda: bool = False
    """Of ik_llama.cpp, which names no backends."""
    model_type: str
    model_size: int
    """Bytes of all tensors."""
    model_n_params: int
    n_prompt: int
    n_gen: int
    n_depth: int = 0
    n_threads: int
    samples_ns: tuple[Nanoseconds, ...]
    samples_ts: tuple[TokensPerSecond, ...]
    avg_ts: TokensPerSecond
    stddev_ts: float


def argv(
    program: str,
    weights: str,
    sweep: Sweep,
    tests: Sequence[SpeedTest],
    *,
    fork: str = "",
) -> list[str]:
    """Return the command line for tests of a sweep, in the published order of flags.

    It has `-fa 1`, never `on`: older builds silently read `on` as off. ik_llama.cpp
    prints debug lines among the JSON on standard output, so its rows go to standard
    error.
    """
    prompts = dict.fromkeys(str(test.n_prompt) for test in tests if test.n_prompt)
    generations = dict.fromkeys(str(test.n_gen) for test in tests if test.n_gen)
    depths = dict.fromkeys(str(test.n_depth) for test in tests)
    flags = [
        *("-m", weights),
        *("-ctk", sweep.cache_type_k, "-ctv", sweep.cache_type_v),
        *("-fa", "1" if sweep.flash_attn else "0"),
        *("-b", str(sweep.batch_size), "-ub", str(sweep.ubatch_size)),
        *("-p", ",".join(prompts) or "0"),
        *("-n", ",".join(generations) or "0"),
        *("-r", str(sweep.warmup_repetitions + sweep.repetitions)),
    ]
    optional: dict[str, object] = {
        "-d": ",".join(depths) if [*depths] != ["0"] else None,
        "-ngl": sweep.n_gpu_layers,
        "-t": sweep.threads,
        "-ncmoe": sweep.n_cpu_moe,
        "-ot": ";".join(sweep.override_tensor) or None,
        "-nkvo": 1 if sweep.no_kv_offload else None,
        "-sm": sweep.split_mode,
        "-ts": "/".join(f"{share:g}" for share in sweep.tensor_split) or None,
        "-mg": sweep.main_gpu,
    }
    flags += flag_words(optional)
    if fork:
        if "-d" in flags:
            raise MeasureError(f"{program}: llama-bench of {fork} has no depth (-d)")
        flags = ["--n-cpu-moe" if flag == "-ncmoe" else flag for flag in flags]
        return [program, *flags, "-o", "md", "-oe", "json"]
    return [program, *flags, "-o", "jsonl", "--progress"]


def flag_words(flags: Mapping[str, object]) -> list[str]:
    """Return the words of a command line; a flag without a value is left out."""
    return [
        word
        for flag, value in flags.items()
        if value is not None
        for word in (flag, str(value))
    ]


class JsonRows:
    """Joins the lines of `-oe json`, an array of objects, to one line for each row."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def feed(self, line: str) -> str:
        """Take the next line; return a row where it ends one, else nothing."""
        if line == "  {":
            self._lines = ["{"]
        elif self._lines and line in {"  }", "  },"}:
            row, self._lines = "".join([*self._lines, "}"]), []
            return row
        elif self._lines:
            self._lines.append(line.strip())
        return ""


def one_process(tests: Sequence[SpeedTest]) -> list[SpeedTest]:
    """Return the first tests, as many as one command line can ask for.

    llama-bench runs every size at every depth: after a failure the sizes that are left
    of one depth run alone.
    """
    sizes: dict[int, list[tuple[int, int]]] = {}
    for test in tests:
        sizes.setdefault(test.n_depth, []).append((test.n_prompt, test.n_gen))
    first = next(iter(sizes.values()), [])
    depths = itertools.takewhile(lambda depth: sizes[depth] == first, sizes)
    return list(tests[: len(first) * len(list(depths))])


def parse_row(line: bytes | str, *, warmup_repetitions: int = 0) -> SpeedSample:
    """Parse one line of `-o jsonl`; ValueError where it is not a row.

    llama-bench measures one stream, and every repetition has the same tokens.
    """
    text = line.encode() if isinstance(line, str) else line
    row = msgspec.json.decode(text, type=_Row)
    return SpeedSample(
        test=SpeedTest(n_prompt=row.n_prompt, n_gen=row.n_gen, n_depth=row.n_depth),
        depth_tokens=row.n_depth,
        warmup_repetitions=warmup_repetitions,
        tokens=(row.n_prompt + row.n_gen,) * len(row.samples_ts),
        nanoseconds=row.samples_ns,
        tokens_per_second=row.samples_ts,
        published_tps=row.avg_ts,
        published_sd_tps=row.stddev_ts,
        backend=row.backends or ("CUDA" if row.cuda else "CPU"),
        device=row.gpu_info or row.cpu_info,
        build_commit=row.build_commit,
        build_number=row.build_number,
        model_type=row.model_type,
        model_bytes=row.model_size,
        model_params=row.model_n_params,
        threads=row.n_threads,
        raw=msgspec.Raw(text),
    )


class _Sizes(msgspec.Struct, frozen=True):
    n_prompt: int
    n_gen: int
    n_depth: int = 0


def test_of(line: str) -> SpeedTest | None:
    """Return the test of a row that may be unreadable otherwise; None if unknown."""
    try:
        sizes = msgspec.json.decode(line, type=_Sizes)
    except msgspec.MsgspecError:
        return None
    return SpeedTest(n_prompt=sizes.n_prompt, n_gen=sizes.n_gen, n_depth=sizes.n_depth)


def is_row(line: str) -> bool:
    """Whether a line of standard output is a row, or the beginning of one.

    Backends print banners there too: `ggml_vulkan: Found 1 Vulkan devices:`.
    """
    return line.lstrip().startswith("{")


def mistakes(
    sample: SpeedSample, sweep: Sweep, *, weights: str, backend: Backend | None
) -> Iterator[str]:
    """Yield what in a row differs from the request or contradicts itself.

    `backend` is the build's; None is not compared.
    """
    repetitions = sweep.repetitions + sweep.warmup_repetitions
    if sample.repetitions != repetitions:
        yield f"{sample.repetitions} samples where {repetitions} were asked"
    raw = msgspec.json.decode(sample.raw, type=dict[str, object])
    asked = {
        "model_filename": weights,
        "type_k": sweep.cache_type_k,
        "type_v": sweep.cache_type_v,
        "n_batch": sweep.batch_size,
        "n_ubatch": sweep.ubatch_size,
        "flash_attn": sweep.flash_attn,
        "n_gpu_layers": sweep.n_gpu_layers,
        "n_threads": sweep.threads,
        "n_cpu_moe": sweep.n_cpu_moe,
        "tensor_buft_overrides": ";".join(sweep.override_tensor) or None,
        "no_kv_offload": sweep.no_kv_offload,
        "split_mode": sweep.split_mode,
        "tensor_split": "/".join(f"{share:.2f}" for share in sweep.tensor_split)
        or None,
        "main_gpu": sweep.main_gpu,
    }
    for key, wanted in asked.items():
        found = raw.get(key, wanted)
        if key == "model_filename":
            found = str(found).rpartition("/")[2]
        if wanted is not None and found != wanted:  # 1 == True: pins differ in it
            yield f"{key} is {found!r} where {wanted!r} was asked"
    yield from _impossible(sample)
    if backend:
        yield from _elsewhere(sample, raw, backend)


def _impossible(sample: SpeedSample) -> Iterator[str]:
    """Yield figures of one row that contradict each other; all are printed rounded."""
    for tokens, nanoseconds, speed in zip(
        sample.tokens, sample.nanoseconds, sample.tokens_per_second, strict=True
    ):
        if not math.isclose(speed, tokens * 1e9 / nanoseconds, rel_tol=_ROUNDING):
            yield f"{speed} tokens/s are not {tokens} tokens in {nanoseconds} ns"
            return
    mean = statistics.fmean(sample.tokens_per_second)
    if not math.isclose(sample.published_tps, mean, rel_tol=_ROUNDING):
        yield f"avg_ts is {sample.published_tps}, its samples' mean {mean:.6g}"


def _elsewhere(
    sample: SpeedSample, raw: Mapping[str, object], backend: Backend
) -> Iterator[str]:
    """Yield where a row was computed if the build should compute elsewhere."""
    names = {name.strip() for name in sample.backend.split(",")} - {""}
    gpu = str(raw.get("gpu_info", ""))
    match backend:
        case Backend.CPU:
            if names - _ON_THE_CPU or gpu:
                yield f"computed on {gpu or sample.backend} by a build for the CPU"
        case Backend.CUDA:
            if "CUDA" not in names or ("gpu_info" in raw and not gpu):
                yield (
                    "computed on the CPU by a build for CUDA (backends "
                    f"{sample.backend!r}, gpu_info {gpu!r}): no card answered it"
                )


def parse_progress(line: str) -> str | None:
    """Return `prompt run 2/3` from a line that `--progress` writes to standard error."""
    found = re.match(r"llama-bench: benchmark \d+/\d+: (.*)", line)
    return found[1] if found else None


def progress_number(line: str) -> int:
    """Return the number of a progress line's test, from 1; 0 for another line."""
    found = re.match(r"llama-bench: benchmark (\d+)/", line)
    return int(found[1]) if found else 0


def is_unexplained(ended: Ended) -> bool:
    """Whether it failed with a line that llama-bench explains only under `-v`.

    Out of memory is such a case, on the CPU as on a GPU.
    """
    text = "\n".join(ended.tail)
    return not ended.limit and bool(_UNEXPLAINED.search(text))


def explaining_argv(argv: Sequence[str], test: SpeedTest) -> list[str]:
    """Return the command for one test, once, without warm-up, with llama.cpp's log."""
    words = list(argv)
    own = {"-p": test.n_prompt, "-n": test.n_gen, "-d": test.n_depth, "-r": 1}
    for flag, value in own.items():
        if flag in words:
            words[words.index(flag) + 1] = str(value)
    skip = ["--no-warmup"] if "jsonl" in words else ["-w", "0"]
    return [*words, *skip, "-v"]


def is_about_memory(line: str) -> bool:
    """Whether a line says that memory could not be allocated."""
    return bool(_MEMORY.search(line))


def stage_of(step: str) -> Stage:
    """Return the stage of a test by its last progress line; `""` if there was none."""
    if "generation run" in step:
        return Stage.GENERATION
    if "prompt run" in step or "depth run" in step:
        return Stage.PREFILL
    return Stage.LOADING


def classify(ended: Ended, *, step: str = "") -> Outcome:
    """Return the outcome of the test at which a process ended.

    `step` is the last result of `parse_progress` for that test.
    """
    text = "\n".join(ended.tail)
    if ended.limit is not None:
        return TimedOut(after_s=ended.seconds, tail=ended.tail)
    if _MEMORY.search(text):
        return OutOfMemory(
            exit_code=ended.returncode, tail=ended.tail, stage=stage_of(step)
        )
    if _CONTEXT.search(text):
        return ContextTooLarge(exit_code=ended.returncode, tail=ended.tail)
    return Crashed(exit_code=ended.returncode, tail=ended.tail)
