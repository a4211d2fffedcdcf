"""Only calls of the agent in a sandbox are passed on, for root and ordinary users."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.sandbox.test_attacks import played_as


@pytest.fixture
def folder() -> Iterator[Path]:
    """One of its own: pytest closes its folders to other users whenever it starts."""
    with tempfile.TemporaryDirectory(prefix="llamatrix-caller-") as made:
        yield Path(made)


@pytest.mark.slow
@pytest.mark.parametrize("who", ["root", "user"])
def test_child_processes_of_the_agent_cannot_call_the_model(
    who: str, folder: Path
) -> None:
    found = played_as(who, "tests.proxy.calling", folder)
    assert found["lines"] == [
        ["agent", "200"],
        ["child", "403"],
        ["agent", "200"],
    ], found["stderr"]
    assert found["counted"] == [2, 1, 14]
