"""The engines by name: the place outside their folders that names them."""

from llamatrix.engines.llama_cpp import llama_bench
from llamatrix.engines.outcome import SpeedSample


def parse_unnamed_row(line: bytes) -> SpeedSample:
    """Parse a row of schema 1, which names no engine: llama.cpp was the only one."""
    return llama_bench.parse_row(line)
