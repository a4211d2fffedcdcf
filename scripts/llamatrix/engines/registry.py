"""The engines: the place outside their folders that names them."""

from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.engines.llama_cpp.bench_sql import sql_row, sql_script
from llamatrix.engines.llama_cpp.engine import LlamaCpp
from llamatrix.engines.llama_cpp.fit_params import (
    FitFigures,
    checked_contexts,
    need_by_program,
    run_fit_params,
)
from llamatrix.engines.outcome import SpeedSample
from llamatrix.engines.protocol import Engine

__all__ = [
    "ENGINE",
    "FitFigures",
    "checked_contexts",
    "need_by_program",
    "parse_unnamed_row",
    "run_fit_params",
    "sql_row",
    "sql_script",
]
ENGINE: Engine = LlamaCpp()


def parse_unnamed_row(line: bytes) -> SpeedSample:
    """Parse a row of schema 1, which names no engine: llama.cpp was the only one."""
    return llama_bench.parse_row(line)
