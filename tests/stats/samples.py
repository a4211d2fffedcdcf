"""Pairs and files of samples, as the tests of this room want them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from llamatrix.stats.pairs import Pair

# Paired log-ratios around 0 whose mean is 0: what noise of about 0.7 % looks like.
QUIET = (0.004, -0.006, 0.009, -0.008, 0.001)


def pairs_of(ratios: Sequence[float], *, baseline: float = 40.0) -> tuple[Pair, ...]:
    """Pairs from 1 whose candidates are the baseline times the ratios."""
    return tuple(
        Pair(number=number, baseline=baseline, candidate=baseline * ratio)
        for number, ratio in enumerate(ratios, 1)
    )


def swapped(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
    return tuple(
        replace(
            pair,
            baseline=pair.candidate,
            candidate=pair.baseline,
            baseline_mhz=pair.candidate_mhz,
            candidate_mhz=pair.baseline_mhz,
        )
        for pair in pairs
    )


def sample(pair: object, arm: str, value: object, unit: str = "tok/s") -> str:
    return json.dumps({"pair": pair, "arm": arm, "value": value, "unit": unit})


def ordered(pair: int, arm: str, value: float, **keys: object) -> str:
    """Return a sample with further keys, such as `order` and `process`."""
    return json.dumps(
        {"pair": pair, "arm": arm, "value": value, "unit": "tok/s", **keys}
    )


def file_of(path: Path, ratios: Sequence[float], *, unit: str = "tok/s") -> Path:
    lines = []
    for number, ratio in enumerate(ratios, 1):
        baseline = 40.0625 + number / 100
        lines.append(sample(number, "baseline", baseline, unit))
        lines.append(sample(number, "candidate", baseline * ratio, unit))
    return written(path, *lines)


def written(path: Path, *lines: str) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path
