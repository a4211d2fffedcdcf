"""The environment of measured programs: small, declared, the same from every shell.

`GGML_CUDA_DISABLE_GRAPHS=`, set by accident, makes a card 11 % slower. Variables that a
user sets on purpose belong in matrix.toml, and thereby in every record and digest.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

_LOCALE = {"LANG": "C.UTF-8"}
PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ"),
    "LD_LIBRARY_PATH",  # where CUDA's libraries and its driver are
    *(
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
    ),  # which card; it names the host class
)
OURS = "LLAMATRIX_"
"""Prefix of our own variables, which no measured program reads."""
SHARED = "LLAMATRIX_SHARED_MACHINE"
"""Set on a machine shared with other work: waiting threads of measured programs sleep
instead of spinning, and records belong to a host class of their own (`host.this_host`)."""
_CHANGE_NUMBERS = (
    *("GGML_", "LLAMA_", "CUDA_", "NVIDIA_TF32", "OMP_", "GOMP_", "KMP_", "MKL_"),
    *("OPENBLAS_", "LD_PRELOAD", "MALLOC_", "GLIBC_TUNABLES", "HIP_", "ROCR_", "VK_"),
)


def measured_environment(
    declared: Mapping[str, str], outer: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the environment of a measured program; `declared` is from matrix.toml."""
    passed = {
        name: value
        for name, value in outer.items()
        if name in PASSED_ON or name.startswith(OURS)
    }
    shared = {"OMP_WAIT_POLICY": "passive"} if outer.get(SHARED) else {}
    return _LOCALE | passed | shared | dict(declared)


def dropped_variables(outer: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return variables of the shell that would change numbers and are not passed on."""
    return tuple(
        sorted(
            name
            for name in outer
            if name.startswith(_CHANGE_NUMBERS)
            and name not in PASSED_ON
            and not name.startswith(OURS)
        )
    )


class ProcessConditions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a measured program inherits from us besides its variables.

    Schedulers change it: a worker of Ray has niceness 15 and is the first to be killed.
    """

    niceness: int = 0
    oom_score_adj: int = 0
    """How readily the kernel kills it when memory is short, from -1000 to 1000."""
    cpus: int
    """Logical cores that it may use."""
    variables: dict[str, str] = {}
    """Those that would change numbers and that it gets: which card it sees."""


def process_conditions() -> ProcessConditions:
    """Return the conditions of this process and of the programs that it starts."""
    adjustment = Path("/proc/self/oom_score_adj")
    variables = measured_environment({})
    return ProcessConditions(
        niceness=os.getpriority(os.PRIO_PROCESS, 0),
        oom_score_adj=int(adjustment.read_text()) if adjustment.exists() else 0,
        cpus=len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count() or 1,
        variables={
            name: value
            for name, value in sorted(variables.items())
            if name.startswith(_CHANGE_NUMBERS)
        },
    )
