"""What is asked before a trial, and what is said where it is not there."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import msgspec
import pytest

from llamatrix.agents.turn_outcome import WhyNotRun
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.matrix import Network
from llamatrix.trials.checks.task import Task, load_task
from llamatrix.trials.requirements import service_lacks, unmet
from llamatrix.web import Site, site

KEY = "a key/with+signs&more"
Answer = Callable[[httpx.Request], httpx.Response]


@pytest.fixture
def images() -> Task:
    return load_task("gemini-images")


@pytest.fixture
def sandbox(bare_path: Path) -> Path:
    """A bwrap that lets everything be, and a git beside it."""
    for name in ("git", "bwrap"):
        (bare_path / name).write_text("#!/bin/sh\nexit 0\n")
        (bare_path / name).chmod(0o755)
    return bare_path / "bwrap"


def online(cell: AgentCell, task: str) -> AgentCell:
    agent = msgspec.structs.replace(cell.agent, network=Network.ONLINE)
    return msgspec.structs.replace(cell, agent=agent, task=task)


@contextmanager
def asked(answer: Answer) -> Iterator[tuple[Site, list[httpx.URL]]]:
    urls: list[httpx.URL] = []

    def noted(request: httpx.Request) -> httpx.Response:
        urls.append(request.url)
        return answer(request)

    with site("https://service.test", transport=httpx.MockTransport(noted)) as ready:
        yield ready, urls


@pytest.mark.usefixtures("bare_path")
def test_missing_bwrap_and_apt_leave_no_sandbox(
    cell: AgentCell, tmp_path: Path
) -> None:
    found = unmet(cell, tmp_path / "cache", {})
    assert found
    assert found.why is WhyNotRun.NO_SANDBOX
    assert "bwrap: not found on the PATH" in found.reason
    assert "bubblewrap" in found.remedy
    assert not (tmp_path / "cache" / "programs" / "bubblewrap").exists()


def test_machine_that_forbids_sandboxes_is_reported(
    cell: AgentCell, tmp_path: Path, sandbox: Path
) -> None:
    sandbox.write_text("#!/bin/sh\necho 'bwrap: No permissions' >&2; exit 1\n")
    found = unmet(cell, tmp_path, {})
    assert found
    assert (found.why, found.reason) == (WhyNotRun.NO_SANDBOX, "bwrap: No permissions")


@pytest.mark.usefixtures("sandbox")
def test_machine_without_a_locked_opencode_is_reported(
    cell: AgentCell, tmp_path: Path
) -> None:
    locked = msgspec.structs.replace(
        cell.program, integrity={"opencode-linux-riscv64": "sha512-x"}
    )
    found = unmet(msgspec.structs.replace(cell, program=locked), tmp_path, {})
    assert found
    assert found.why is WhyNotRun.NO_PROGRAM
    assert "only opencode-linux-riscv64" in found.reason


def test_missing_git_is_reported_before_any_workspace(
    cell: AgentCell, tmp_path: Path, sandbox: Path
) -> None:
    sandbox.with_name("git").unlink()
    found = unmet(cell, tmp_path, {})
    assert found
    assert (found.why, found.remedy) == (
        WhyNotRun.NO_PROGRAM,
        "install the package `git`",
    )


@pytest.mark.usefixtures("sandbox")
def test_a_hermetic_trial_needs_no_key(cell: AgentCell, tmp_path: Path) -> None:
    images = msgspec.structs.replace(cell, task="gemini-images")
    assert unmet(images, tmp_path, {}) is None


@pytest.mark.usefixtures("sandbox")
@pytest.mark.parametrize("environ", [{}, {"GEMINI_API_KEY": ""}])
def test_an_online_trial_needs_the_services_key(
    cell: AgentCell, tmp_path: Path, environ: dict[str, str]
) -> None:
    found = unmet(online(cell, "gemini-images"), tmp_path, environ)
    assert found
    assert found.why is WhyNotRun.NO_KEY
    assert "GEMINI_API_KEY is not set" in found.reason
    assert "set GEMINI_API_KEY" in found.remedy


def test_service_with_one_of_the_models_is_accepted(images: Task) -> None:
    last = images.models[-1].name

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200 if request.url.path.endswith(last) else 404)

    with asked(answer) as (service, urls):
        assert service_lacks(images, {"GEMINI_API_KEY": KEY}, service) is None
    assert [url.path for url in urls] == [
        f"/v1beta/models/{model.name}" for model in images.models
    ]
    assert all(dict(url.params) == {"key": KEY} for url in urls)


def test_service_without_any_of_the_models_is_reported(images: Task) -> None:
    with asked(lambda _: httpx.Response(404)) as (service, _):
        found = service_lacks(images, {"GEMINI_API_KEY": KEY}, service)
    assert found
    assert found.why is WhyNotRun.SERVICE
    assert images.models[0].name in found.reason
    assert KEY not in str(found)


@pytest.mark.parametrize("status", [200, 400, 403, 429, 500, 503])
def test_other_answers_of_a_service_are_left_to_the_trial(
    images: Task, status: int
) -> None:
    with asked(lambda _: httpx.Response(status)) as (service, urls):
        assert service_lacks(images, {"GEMINI_API_KEY": KEY}, service) is None
    assert len(urls) == 1


def test_silent_service_is_left_to_the_trial(images: Task) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with asked(refuse) as (service, _):
        assert service_lacks(images, {"GEMINI_API_KEY": KEY}, service) is None


def test_task_without_models_asks_no_service() -> None:
    with asked(lambda _: httpx.Response(404)) as (service, urls):
        assert service_lacks(load_task("httpx-post"), {}, service) is None
    assert urls == []
