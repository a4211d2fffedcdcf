"""What the supervisor counts against a sandbox's limits."""

import mmap
import os

from llamatrix.sandbox.supervisor import process_size

MIB = 1 << 20


def test_shared_memory_is_counted() -> None:
    before, threads = process_size(os.getpid())
    with mmap.mmap(-1, 32 * MIB) as shared:
        for page in range(0, len(shared), mmap.PAGESIZE):
            shared[page] = 1
        after, _ = process_size(os.getpid())
    assert after - before > 24 * MIB
    assert threads >= 1
