"""The engines: the place outside their folders that names them."""

from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.engines.llama_cpp.engine import LlamaCpp
from llamatrix.engines.outcome import SpeedSample
from llamatrix.engines.protocol import Engine

ENGINE: Engine = LlamaCpp()


def parse_unnamed_row(line: bytes) -> SpeedSample:
    """Parse a row of schema 1, which names no engine: llama.cpp was the only one."""
    return llama_bench.parse_row(line)
