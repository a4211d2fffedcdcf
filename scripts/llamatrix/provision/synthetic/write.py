"""A synthetic GGUF, written as a stream: memory stays the same whatever the size."""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from llamatrix.errors import ProvisionError
from llamatrix.provision.synthetic.blocks import Pools
from llamatrix.provision.synthetic.header import ALIGNMENT, write_header
from llamatrix.provision.synthetic.layout import Layout, layout
from llamatrix.provision.synthetic.spec import SyntheticSpec
from llamatrix.units import bytes_text

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def write(
    spec: SyntheticSpec,
    path: Path,
    *,
    on_bytes: Callable[[int], None],
    sparse: bool = False,
) -> None:
    """Write the file, or no file: a failure leaves none and is a ProvisionError.

    `on_bytes` gets increments that add up to the size of the file. `sparse` leaves the
    tensor data a hole: enough for llama-fit-params, zeros for everything else.
    """
    plan = layout(spec)
    needed = 0 if sparse else plan.tensor_bytes
    try:
        if shutil.disk_usage(path.parent).free < needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # noqa: TRY301
        with path.open("wb") as file, _removed_on_failure(path):
            write_header(file, spec, plan)
            on_bytes(file.tell())
            if sparse:
                _leave_hole(file, plan, on_bytes)
            else:
                _write_tensors(file, spec, plan, on_bytes)
            file.flush()
    except OSError as error:
        raise ProvisionError(_complaint(error, path, needed)) from error


@contextmanager
def _removed_on_failure(path: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        if path.is_file():  # and not a device such as /dev/full
            path.unlink()
        raise


def _write_tensors(
    file: IO[bytes], spec: SyntheticSpec, plan: Layout, on_bytes: Callable[[int], None]
) -> None:
    largest = max(tensor.bytes for tensor in plan.tensors)
    pools = Pools(spec.digest(), limit_bytes=largest)
    for tensor in plan.tensors:
        start = file.tell()
        for piece in pools.stream(tensor):
            file.write(piece)
            on_bytes(len(piece))
        padding = bytes(-tensor.bytes % ALIGNMENT)
        file.write(padding)
        on_bytes(len(padding))
        for row in tensor.silent_rows:
            file.seek(start + row * tensor.row_bytes)
            file.write(bytes(tensor.row_bytes))
        file.seek(0, os.SEEK_END)


def _leave_hole(file: IO[bytes], plan: Layout, on_bytes: Callable[[int], None]) -> None:
    hole = sum(tensor.bytes + -tensor.bytes % ALIGNMENT for tensor in plan.tensors)
    file.truncate(file.tell() + hole)
    on_bytes(hole)


def _complaint(error: OSError, path: Path, needed: int) -> str:
    if error.errno not in _NO_ROOM:
        return f"{path}: cannot be written: {error.strerror}; nothing is left of it"
    place = next(folder for folder in path.resolve().parents if folder.is_mount())
    free = shutil.disk_usage(place).free
    return (
        f"{path}: no room on the filesystem at {place}: {bytes_text(needed)} needed,"
        f" {bytes_text(free)} free; make room there or use another folder, and start"
        " again"
    )
