"""Who may change the world that the stubs are in, and what ends nothing."""

import hashlib
import hmac
import socket
from pathlib import Path

import pytest

from llamatrix.proxy.serving import loopback_listener
from llamatrix.sandbox.forwarding import answering
from llamatrix.trials.stubs.world import Switch, World

KEY = b"the key of this session"


@pytest.mark.parametrize("line", [b"", b"\n", b"0 real \xff\n", b"\xff \xff \xff"])
def test_invalid_command_changes_nothing_and_ends_nothing(
    tmp_path: Path, line: bytes
) -> None:
    (tmp_path / "key").write_bytes(KEY)
    switch = Switch(key_file=tmp_path / "key")
    digest = hmac.new(KEY, b"world 0 null", hashlib.sha256).hexdigest()
    with loopback_listener() as door, answering([(door, switch.handler())]):
        assert _answer(door, line) == b""
        unchanged = switch.world
        assert _answer(door, f"0 null {digest}\n".encode()) == b"ok"
    assert (unchanged, switch.world) == (World.REAL, World.NULL)


def _answer(door: socket.socket, line: bytes) -> bytes:
    with socket.create_connection(door.getsockname(), timeout=20) as caller:
        caller.sendall(line)
        caller.shutdown(socket.SHUT_WR)
        return caller.recv(2)
