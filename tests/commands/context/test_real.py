"""`invoke context` on a real llama-server with tiny weights."""

import json

import pytest
from tests.commands.conftest import record_lines
from tests.invoking import invoked_apart

from llamatrix.measure.context.generation import context_steps
from llamatrix.project import Project

pytestmark = [pytest.mark.slow, pytest.mark.network]


@pytest.mark.parametrize("model", ["qwen35-27b", "gemma4-26b-a4b"])
def test_the_curve_of_a_real_server_is_measured_and_kept(
    model: str, real_project: Project, real_environment: dict[str, str]
) -> None:
    """How fast a busy machine is, is not asked; what was processed is exact."""
    ended = invoked_apart(
        *(
            "context",
            "--profile",
            "smoke",
            "--model",
            model,
            "--max-context",
            "4096",
            "--min-speed-ratio",
            "0.001",
        ),
        *("--budget", "5m", "--json"),
        env=real_environment,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert (told["largest_context_tokens"], told["limit"]) == (4096, "asked")
    found = told["record"]["found"]
    assert [rung["tokens"] for rung in found["rungs"]] == list(context_steps(4096))
    assert len(found["attempts"]) == 1
    for rung in found["rungs"]:
        first = rung["answers"][0]
        assert first["prompt_n"] + first["cache_n"] == rung["tokens"] - 128
        assert first["predicted_n"] == 128
        assert rung["footprint"]["rss_bytes"] > 2**20
    assert all(rung["answers"][0]["cache_n"] for rung in found["rungs"])
    assert "synthetic" in found["not_recalled"]
    assert len(record_lines(real_project)) == 1
