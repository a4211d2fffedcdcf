"""Run commands of `tasks.py` through Invoke's own parser, in this process.

This avoids a new interpreter for each command; tests of the process itself (signals,
environment at start) start one.
"""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from unittest import mock

from invoke import Program
from tests.shipped import NOWHERE, ROOT

from llamatrix import nvml
from llamatrix.provision import compiler

PROCESS_WIDE = (nvml.gpus, compiler.cxx, compiler.nvcc, compiler.compiler_id)
"""Caches that a new process would not have."""


def invoked(
    *arguments: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run `invoke ARGUMENTS` in this environment; a bug keeps its traceback.

    A command that uses a hub runs as a process: the hub's client reads the location of
    its cache on import.
    """
    if env["HF_HOME"] != NOWHERE:
        return invoked_apart(*arguments, env=env)
    import tasks

    said, complained = io.StringIO(), io.StringIO()
    argv = ["invoke", *arguments]
    code: int | str | None = 0
    with (
        _as_at_the_start(env),
        redirect_stdout(said),
        redirect_stderr(complained),
    ):
        try:
            Program(namespace=tasks.namespace).run(argv)
        except SystemExit as end:
            code = end.code
    assert isinstance(code, int), code
    return subprocess.CompletedProcess(
        argv, code, said.getvalue(), complained.getvalue()
    )


def invoked_apart(
    *arguments: str, env: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the same as a process; the test's own time limit ends it."""
    return subprocess.run(
        [sys.executable, "-m", "invoke", *arguments],
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@contextmanager
def _as_at_the_start(env: Mapping[str, str]) -> Iterator[None]:
    numbers = (signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    for known in PROCESS_WIDE:
        known.cache_clear()
    try:
        with mock.patch.dict(os.environ, env, clear=True):
            yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)
        for known in PROCESS_WIDE:
            known.cache_clear()
