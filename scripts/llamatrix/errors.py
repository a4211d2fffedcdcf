"""What stops the harness: one class per room, each with its exit code.

What a model, a server or an agent does wrong is an outcome, never one of these.
"""

from typing import ClassVar


class BenchError(Exception):
    """Something the user can act on; its text says where, what and what now."""

    exit_code: ClassVar[int] = 1


class MatrixError(BenchError):
    """`matrix.toml` or `matrix.lock` cannot be used as it stands."""

    exit_code: ClassVar[int] = 2


class ProvisionError(BenchError):
    """A source, binary, tool or weights file cannot be had."""

    exit_code: ClassVar[int] = 3


class ServeError(BenchError):
    """llama-server cannot be brought up or down."""

    exit_code: ClassVar[int] = 4


class MeasureError(BenchError):
    """Measuring is impossible on this host."""

    exit_code: ClassVar[int] = 5


class RecordError(BenchError):
    """The record store cannot be read or written."""

    exit_code: ClassVar[int] = 6


class ReportError(BenchError):
    """A table or page cannot be made."""

    exit_code: ClassVar[int] = 7
