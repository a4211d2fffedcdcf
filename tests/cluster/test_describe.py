"""What the driver says of a host before it measures there."""

import time

import msgspec
import pytest

from llamatrix.cluster.driver import Host, describe, unfit
from llamatrix.cluster.planning import SiteClass
from llamatrix.cluster.protocol import Surveyed, versions_of
from llamatrix.host import this_host
from llamatrix.measured_environment import ProcessConditions, process_conditions
from llamatrix.project import Project


@pytest.fixture
def surveyed(project: Project) -> Surveyed:
    return Surveyed(
        versions=versions_of(project),
        host=this_host(),
        cards=(),
        compilers={},
        refusals={},
        free_bytes=2**30,
        time_s=time.time(),
        conditions=process_conditions(),
    )


def described(surveyed: Surveyed, *, ahead_s: float = 0.0) -> str:
    whole = SiteClass(slug="box", whole=True, compilers=(), refused=frozenset())
    host = Host(name="boxa", surveyed=surveyed, whole=whole, cards={}, ahead_s=ahead_s)
    return describe(host, shared=False)


def test_a_wrong_clock_is_said(surveyed: Surveyed) -> None:
    fast = described(surveyed, ahead_s=3600.0)
    assert "its clock is 3600 s ahead: its records get this machine's time" in fast
    assert "3600 s behind" in described(surveyed, ahead_s=-3600.0)
    assert "clock" not in described(surveyed)


@pytest.mark.parametrize("field", ["python", "checkout", "matrix", "lock", "templates"])
def test_a_host_of_another_version_is_left_out(
    field: str, surveyed: Surveyed, project: Project
) -> None:
    assert unfit(surveyed, versions_of(project)) == ""
    versions = msgspec.structs.replace(surveyed.versions, **{field: "3.12.1"})
    other = msgspec.structs.replace(surveyed, versions=versions)
    assert "versions differ" in unfit(other, versions_of(project))
    assert "3.12.1, here" in unfit(other, versions_of(project))


def test_a_host_without_a_matrix_is_left_out_in_words(
    surveyed: Surveyed, project: Project
) -> None:
    ours = versions_of(project)
    project.matrix_file.unlink()
    there = msgspec.structs.replace(surveyed, versions=versions_of(project))
    assert "matrix.toml missing, here" in unfit(there, ours)


@pytest.mark.parametrize(
    "conditions",
    [
        ProcessConditions(niceness=15, cpus=2),
        ProcessConditions(niceness=-20, oom_score_adj=1000, cpus=2),
    ],
)
def test_a_host_that_starts_programs_as_ray_does_is_left_out(
    conditions: ProcessConditions, surveyed: Surveyed, project: Project
) -> None:
    other = msgspec.structs.replace(surveyed, conditions=conditions)
    assert "RAY_worker_niceness=0" in unfit(other, versions_of(project))
