"""Groups of the kernel's that bound a sandbox, where there are any."""

import subprocess
from pathlib import Path

import pytest

from llamatrix.sandbox.cgroups import joining, limited

MIB = 1 << 20


def test_command_without_groups_is_unchanged() -> None:
    assert joining((), ["true", "--", "x"]) == ("true", "--", "x")


def test_command_joins_every_group(tmp_path: Path) -> None:
    """Where a group cannot be joined the command runs all the same."""
    (tmp_path / "a").mkdir()
    argv = joining((tmp_path / "a", tmp_path / "none"), ["echo", "a b", "--", "$1"])
    ended = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert ended.stdout == "a b -- $1\n"
    assert (tmp_path / "a" / "cgroup.procs").read_text().strip().isdigit()


def test_group_limits_its_members_and_is_removed() -> None:
    bomb = "import sys; x = bytearray(900 << 20); print('survived')"
    with limited(memory_bytes=100 * MIB, threads=100) as groups:
        bounded = [group for group in groups if "pids" not in group.parts]
        if not bounded:
            pytest.skip("no control group for memory can be made on this machine")
        argv = joining(groups, ["python3", "-c", bomb])
        ended = subprocess.run(argv, capture_output=True, check=False)
        assert b"survived" not in ended.stdout
        assert ended.returncode == -9
    assert not [group for group in groups if group.exists()]


def test_group_of_a_sandbox_that_is_just_starting_is_kept() -> None:
    with limited(memory_bytes=100 * MIB, threads=100) as first:
        if not first:
            pytest.skip("no control group can be made on this machine")
        with limited(memory_bytes=100 * MIB, threads=100):
            assert all(group.exists() for group in first)
