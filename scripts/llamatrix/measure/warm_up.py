"""Brings the cards to their steady state: llama-bench under load, thrown away."""

import os
import time
from pathlib import Path
from tempfile import TemporaryFile
from types import ModuleType
from typing import IO

import msgspec

from llamatrix import shell
from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import Sweep
from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.measure.disturbances import is_steady
from llamatrix.measure.energy import idle_w
from llamatrix.measure.telemetry import GpuProbe, GpuSample, WarmUp
from llamatrix.measured_environment import measured_environment
from llamatrix.nvml import find_library

_EVERY_S = 0.25
_REST_S = 2.0
_BEGINNING_BYTES = 4096
"""Of what llama-bench says: the first repetition comes within it."""
_TEST = SpeedTest(n_prompt=2048, n_gen=0)
_ENDLESS = 100_000


def warm_up(
    program: Path,
    weights: Path,
    sweep: Sweep,
    *,
    limit_s: float,
    library: ModuleType | None = None,
) -> WarmUp | None:
    """Run prompts until clocks and temperature stop moving, or time is over.

    None without a card to ask.
    """
    probe = GpuProbe(library or find_library())
    try:
        if not probe.count:
            return None
        return _warm_up(probe, program, weights, sweep, limit_s)
    finally:
        probe.close()


def _warm_up(
    probe: GpuProbe, program: Path, weights: Path, sweep: Sweep, limit_s: float
) -> WarmUp:
    resting = _rest(probe)
    endless = msgspec.structs.replace(sweep, repetitions=_ENDLESS)
    argv = llama_bench.argv(str(program), weights.name, endless, [_TEST])
    env = measured_environment(sweep.env)
    begin = time.monotonic()
    samples: list[GpuSample] = []
    steady = False
    with (
        Path(os.devnull).open("wb") as nowhere,
        TemporaryFile() as said,
        shell.started(
            argv, env=env, cwd=weights.parent, out=nowhere, err=said
        ) as process,
    ):
        while not steady and process.poll() is None:
            at_s = time.monotonic() - begin
            if at_s >= limit_s:
                break
            if _works(said):
                samples += probe.read(at_s, processes=False)
            steady = is_steady(samples)
            time.sleep(_EVERY_S)
    return WarmUp(
        seconds=round(time.monotonic() - begin, 3),
        steady=steady,
        idle_w=idle_w(resting),
    )


def _rest(probe: GpuProbe) -> list[GpuSample]:
    """What the cards do with nothing of ours on them; the first half is passed over."""
    begin = time.monotonic()
    samples: list[GpuSample] = []
    while (at_s := time.monotonic() - begin) < _REST_S:
        if at_s > _REST_S / 2:
            samples += probe.read(at_s, processes=False)
        time.sleep(_EVERY_S)
    return samples


def _works(said: IO[bytes]) -> bool:
    """Whether prompts run by now; weights are read before, which is no load."""
    found = os.pread(said.fileno(), _BEGINNING_BYTES, 0)
    return b": prompt run" in found
