"""The environment of measured programs: small, declared, the same from every shell.

`GGML_CUDA_DISABLE_GRAPHS=`, set by accident, makes a card 11 % slower. What a user sets
on purpose stands in matrix.toml, and with it in every record and digest.
"""

import os
from collections.abc import Mapping

_LOCALE = {"LANG": "C.UTF-8"}
PASSED_ON = (
    *("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "TZ"),
    "LD_LIBRARY_PATH",  # where the libraries of CUDA and of its driver lie
    *(
        "CUDA_VISIBLE_DEVICES",
        "CUDA_DEVICE_ORDER",
    ),  # which card; it names the host class
)
OURS = "LLAMATRIX_"
"""Our own variables: no measured program reads them."""
SHARED = "LLAMATRIX_SHARED_MACHINE"
"""Set where others work on the machine too: waiting threads of measured programs sleep
instead of spinning, and records are of a host class of their own (`host.this_host`)."""
_CHANGE_NUMBERS = (
    *("GGML_", "LLAMA_", "CUDA_", "NVIDIA_TF32", "OMP_", "GOMP_", "KMP_", "MKL_"),
    *("OPENBLAS_", "LD_PRELOAD", "MALLOC_", "GLIBC_TUNABLES", "HIP_", "ROCR_", "VK_"),
)


def measured_environment(
    declared: Mapping[str, str], outer: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """All that a measured program sees; `declared` is from matrix.toml."""
    passed = {
        name: value
        for name, value in outer.items()
        if name in PASSED_ON or name.startswith(OURS)
    }
    shared = {"OMP_WAIT_POLICY": "passive"} if outer.get(SHARED) else {}
    return _LOCALE | passed | shared | dict(declared)


def dropped_variables(outer: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Variables of the shell that would change numbers, and are not passed on."""
    return tuple(
        sorted(
            name
            for name in outer
            if name.startswith(_CHANGE_NUMBERS)
            and name not in PASSED_ON
            and not name.startswith(OURS)
        )
    )
