"""llama-fit-params, the program that foretells memory: its command line, its figures.

It reads the header of a GGUF and allocates nothing. Figures as captured from each pin
in `tests/captured/llama-fit-params/`; of a CPU build, so all of it is on the host.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.provision.fit import Use

_TIMEOUT_S = 120
_FLAG = "--fit-print"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitFigures:
    """MiB, as printed: cut to whole numbers by the program."""

    model: int
    context: int
    """Cache and state."""
    compute: int


def run_fit_params(
    program: Path, weights: Path, use: Use, *, context_tokens: int
) -> FitFigures:
    """What the program says of a file; MeasureError where it says nothing."""
    base = argv(program, weights, use, context_tokens=context_tokens)
    ended = shell.run(_printing(program, base), timeout_s=_TIMEOUT_S, on_line=None)
    said: list[str] = ended.out.splitlines()
    if not (ended.ok and said):
        raise MeasureError(f"llama-fit-params failed\n{ended.complaint()}")
    figures = parse(ended.out) or parse("\n".join(ended.tail))
    if figures is None:
        raise MeasureError(f"llama-fit-params: no figures\n{ended.complaint()}")
    return figures


def argv(program: Path, weights: Path, use: Use, *, context_tokens: int) -> list[str]:
    return [
        str(program),
        *("-m", str(weights), "-c", str(context_tokens)),
        *("-ctk", use.cache_type_k, "-ctv", use.cache_type_v, "-fa", "on"),
        *("-b", "2048", "-ub", str(use.ubatch_size), "--parallel", "1", "--no-repack"),
    ]


def parse(text: str) -> FitFigures | None:
    """Sum over devices; from `--fit-print on` (newer) or the log's breakdown (April).

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
    """The same command, made to print memory in the way of this build."""
    told = shell.run([str(program), "--help"], timeout_s=_TIMEOUT_S).out
    return [*base, *((_FLAG, "on") if _FLAG in told else ("-lv", "4"))]
