"""Whom an agent runs as: never root, and never somebody who cannot read his tools."""

import os
from pathlib import Path

import pytest

from llamatrix.errors import MeasureError
from llamatrix.sandbox.spec import User, user_of_its_own

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root has users of this machine to give"
)


def test_each_sandbox_has_another_user() -> None:
    users = {user_of_its_own([]).user_id for _ in range(20)}
    assert len(users) > 10
    assert min(users) > 1000


def test_unreadable_tool_is_named_with_the_remedy(tmp_path: Path) -> None:
    program = tmp_path / "uv"
    program.write_text("x")
    program.chmod(0o700)
    with pytest.raises(
        MeasureError, match=r"uv: not readable by all users.*chmod -R o\+rX"
    ):
        user_of_its_own([program])
    program.chmod(0o755)
    assert not user_of_its_own([program]).own_namespace


def test_root_without_own_user_sees_kernel_settings_read_only() -> None:
    words = " ".join(User(user_id=1000, own_namespace=True).cover_words)
    assert "--ro-bind /proc/sys /proc/sys" in words
    assert User(user_id=54321, own_namespace=False).cover_words == []
