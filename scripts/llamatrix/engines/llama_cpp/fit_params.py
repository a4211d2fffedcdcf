"""llama-fit-params, the program that estimates memory: its command line, its figures.

It reads the header of a GGUF and allocates nothing. `tests/captured/llama-fit-params/`
has its output at each pin; those are CPU builds, so everything is on the host.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.measured_environment import measured_environment
from llamatrix.provision.weights.fit import (
    MemoryNeed,
    MemorySettings,
    MemoryShape,
    card_weight_bytes,
    host_weight_bytes,
    padded,
)

_TIMEOUT_S = 120
_TRIES = 3
_FLAG = "--fit-print"
_CHECKED = (32768, 131072)
_MIB = 2**20


@dataclass(frozen=True, kw_only=True, slots=True)
class FitFigures:
    """MiB, as printed: the program truncates to whole numbers."""

    model: int
    context: int
    """Cache and state."""
    compute: int


def checked_contexts(trained_tokens: int) -> list[int]:
    """Return two contexts, to separate what grows with them from what does not."""
    within = [tokens for tokens in _CHECKED if tokens <= trained_tokens]
    if len(within) == len(_CHECKED):
        return within
    return sorted({padded(max(1, trained_tokens // 2)), padded(trained_tokens)})


def run_fit_params(
    program: Path, weights: Path, use: MemorySettings, *, context_tokens: int
) -> FitFigures:
    """Run the program on a file; MeasureError, in one line, where it fails."""
    base = argv(program, weights, use, context_tokens=context_tokens)
    ended = shell.run(
        _printing(program, base), timeout_s=_TIMEOUT_S, env=measured_environment({})
    )
    figures = parse(ended.out) or parse("\n".join(ended.tail))
    if not ended.ok or figures is None:
        raise MeasureError(f"llama-fit-params: {_reason(ended, base)}")
    return figures


def _reason(ended: shell.Ended, base: list[str]) -> str:
    """Return the first line that names an error, else how the program ended.

    With `--fit-print`, newer builds abort before their log is flushed; without it,
    they still lose it occasionally.
    """
    for _ in range(_TRIES):
        if error := _error_line(ended):
            return f"exit code {ended.returncode}: {error}"
        again = shell.run(base, timeout_s=_TIMEOUT_S, env=measured_environment({}))
        ended = ended if again.ok else again
    if ended.limit:
        return f"stopped after {ended.seconds:.0f} s"
    lines = [line.strip() for line in ended.tail if line.strip()]
    return f"exit code {ended.returncode}: {lines[-1] if lines else 'no output'}"


def _error_line(ended: shell.Ended) -> str:
    lines = (*ended.out.splitlines(), *ended.tail)
    matches = (re.search(r"\berror\b.*|\bfailed\b.*", line) for line in lines)
    return next((match[0].strip() for match in matches if match), "")


def argv(
    program: Path, weights: Path, use: MemorySettings, *, context_tokens: int
) -> list[str]:
    return [
        str(program),
        *("-m", str(weights), "-c", str(context_tokens)),
        *("-ctk", use.cache_type_k, "-ctv", use.cache_type_v, "-fa", "on"),
        *("-b", "2048", "-ub", str(use.ubatch_size), "--parallel", "1", "--no-repack"),
    ]


def parse(text: str) -> FitFigures | None:
    """Sum over devices, from `--fit-print on` (newer) or the log's breakdown (April).

    `Host 18986 1997 567`, or `|   - Host  |   22132 = 18986 +   2560 +   586 |`.
    """
    rows = re.findall(r"^\w+ (\d+) (\d+) (\d+) *$", text, re.MULTILINE) or re.findall(
        r"\|\s+- \S+.*?\(?\d+ = +(\d+) \+ +(\d+) \+ +(\d+)", text
    )
    if not rows:
        return None
    model, context, compute = (
        sum(map(int, column)) for column in zip(*rows, strict=True)
    )
    return FitFigures(model=model, context=context, compute=compute)


def _printing(program: Path, base: list[str]) -> list[str]:
    """Add the flag by which this build prints memory."""
    env = measured_environment({})
    text = shell.run([str(program), "--help"], timeout_s=_TIMEOUT_S, env=env).out
    return [*base, *((_FLAG, "on") if _FLAG in text else ("-lv", "4"))]


def need_by_program(
    ours: MemoryNeed,
    shape: MemoryShape,
    figures: Sequence[tuple[int, FitFigures]],
    tokens: int,
) -> MemoryNeed:
    """Take weights, cache and graph from the program; interpolate between its contexts.

    The program ran on the host: tables of embeddings are subtracted as in the form.
    """

    def at(values: Sequence[int]) -> int:
        (first, low), *_, (last, high) = zip(
            (figure for figure, _ in figures), values, strict=True
        )
        slope = (high - low) / (last - first) if last > first else 0.0
        return max(0, round((low + slope * (tokens - first)) * _MIB))

    leaving = host_weight_bytes(shape) - card_weight_bytes(shape)
    context = at([printed.context for _, printed in figures])
    return replace(
        ours,
        weights=max(0, figures[0][1].model * _MIB - leaving),
        cache=max(0, context - ours.state),
        compute=at([printed.compute for _, printed in figures]),
    )
