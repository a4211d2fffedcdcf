"""Measured programs see the same small environment from every shell."""

import pytest

from llamatrix.host import this_host
from llamatrix.measured_environment import dropped_variables, measured_environment

_SHELL = {
    "PATH": "/bin",
    "HOME": "/home/me",
    "LD_LIBRARY_PATH": "/cuda",
    "CUDA_VISIBLE_DEVICES": "1",
    "LLAMATRIX_CACHE": "/cache",
    "LANG": "de_DE.ISO-8859-1",
    "GGML_CUDA_DISABLE_GRAPHS": "",
    "GGML_CUDA_ENABLE_UNIFIED_MEMORY": "0",
    "LLAMA_ARG_CTX_SIZE": "1",
    "OMP_NUM_THREADS": "1",
    "CUDA_LAUNCH_BLOCKING": "1",
    "LD_PRELOAD": "/lib/malloc.so",
    "HTTP_PROXY": "http://127.0.0.1:9",
    "EDITOR": "vi",
}


def test_only_declared_variables_are_passed_on() -> None:
    assert measured_environment({"GGML_X": "1"}, _SHELL) == {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LD_LIBRARY_PATH": "/cuda",
        "CUDA_VISIBLE_DEVICES": "1",
        "LLAMATRIX_CACHE": "/cache",
        "LANG": "C.UTF-8",
        "GGML_X": "1",
    }


def test_dropped_variables_that_change_numbers_are_named() -> None:
    assert dropped_variables(_SHELL) == (
        *("CUDA_LAUNCH_BLOCKING", "GGML_CUDA_DISABLE_GRAPHS"),
        *("GGML_CUDA_ENABLE_UNIFIED_MEMORY", "LD_PRELOAD", "LLAMA_ARG_CTX_SIZE"),
        "OMP_NUM_THREADS",
    )


def test_threads_sleep_while_waiting_on_a_shared_machine() -> None:
    shared = measured_environment({}, {"LLAMATRIX_SHARED_MACHINE": "1"})
    assert shared["OMP_WAIT_POLICY"] == "passive"
    assert "OMP_WAIT_POLICY" not in measured_environment({}, {"PATH": "/bin"})


def test_shared_machine_is_a_separate_host_class(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("LLAMATRIX_SHARED_MACHINE", raising=False)
    alone = this_host.__wrapped__().slug
    monkeypatch.setenv("LLAMATRIX_SHARED_MACHINE", "1")
    assert this_host.__wrapped__().slug == f"{alone}-shared"
