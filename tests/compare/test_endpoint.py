"""An endpoint as an arm: which cells face each other, and that both see one prompt."""

from collections.abc import Iterator
from contextlib import ExitStack

import msgspec
import pytest
from tests.fakes.openai_server import OpenAiServer
from tests.shipped import ROOT, shipped_context

from llamatrix.compare.arms import ArmSettings, parse_arm
from llamatrix.compare.endpoint import (
    EndpointCase,
    EndpointSubject,
    endpoint_cases,
    identified,
)
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import HttpEndpoint, Matrix
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.project import Project
from llamatrix.records.pair_records import ENDPOINT_PAIRS, EndpointRun
from llamatrix.records.store import RecordLocation
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

_SHIPPED = load_matrix(ROOT / "matrix.toml")
_APRIL = ArmSettings(pin="april")


def matrix_with(**endpoints: HttpEndpoint) -> Matrix:
    return msgspec.structs.replace(_SHIPPED, endpoints=endpoints)


def endpoint(url: str = "http://127.0.0.1:1", model: str = "m") -> HttpEndpoint:
    return HttpEndpoint(url=url, model=model)


def cases(
    baseline: ArmSettings, candidate: ArmSettings, **endpoints: HttpEndpoint
) -> tuple[EndpointCase, ...]:
    arms = {Arm.BASELINE: baseline, Arm.CANDIDATE: candidate}
    return endpoint_cases(shipped_context("engines", matrix_with(**endpoints)), arms)


def named(key: str) -> ArmSettings:
    return ArmSettings(pin="april", endpoint=key)


def test_pin_faces_endpoint_with_the_model_that_both_name() -> None:
    found = cases(_APRIL, named("mine"), mine=endpoint(model="gemma4-31b"))
    assert [case.id for case in found] == [
        "endpoint/gemma4-31b.tiny/april..mine/cpu/pp512",
        "endpoint/gemma4-31b.tiny/april..mine/cpu/tg32",
    ]


def test_pin_may_name_the_model_whatever_the_endpoint_calls_it() -> None:
    arm = ArmSettings(pin="april", model="qwen35-27b")
    (prompt, _) = cases(named("mine"), arm, mine=endpoint())
    assert prompt.id == "endpoint/qwen35-27b.tiny/mine..april/cpu/pp512"


def test_endpoint_with_an_unknown_model_needs_its_name_in_the_other_arm() -> None:
    with pytest.raises(MatrixError, match="serves 'm', which is no key"):
        cases(_APRIL, named("mine"), mine=endpoint())


def test_two_endpoints_need_no_model_of_ours() -> None:
    found = cases(named("a"), named("b"), a=endpoint(), b=endpoint())
    assert found[0].id == "endpoint/a..b/pp512"
    assert not found[0].identical


def test_endpoint_is_an_arm_of_its_own() -> None:
    matrix = matrix_with(mine=endpoint())
    assert parse_arm("endpoint:mine", matrix, flag="--candidate").endpoint == "mine"
    with pytest.raises(MatrixError, match="runs as it is"):
        parse_arm("endpoint:mine,build:cpu", matrix, flag="--candidate")


@pytest.fixture
def servers() -> Iterator[dict[str, tuple[OpenAiServer, str]]]:
    with ExitStack() as stack:
        yield {
            name: (own, stack.enter_context(own.running()))
            for name in ("a", "b")
            for own in [OpenAiServer(token_s=0.001, prompt_s=0.01)]
        }


def subject(
    servers: dict[str, tuple[OpenAiServer, str]], project: Project
) -> EndpointSubject:
    known = {name: endpoint(url) for name, (_, url) in servers.items()}
    (case,) = (
        case
        for case in cases(named("a"), named("b"), **known)
        if case.metric is Metric.PROMPT
    )
    return EndpointSubject(
        case=case,
        metrics=(case.metric,),
        test=case.test,
        parts={},
        reported=identified(case),
        seed=7,
        project=project,
    )


def test_both_arms_of_a_pair_see_the_same_prompts_and_each_pair_new_ones(
    servers: dict[str, tuple[OpenAiServer, str]], project: Project
) -> None:
    own = subject(servers, project)
    runs: list[EndpointRun] = []
    seen = []
    for pair in (1, 2):
        for arm, (server, _) in zip(Arm, servers.values(), strict=True):
            server.prompts.clear()
            run = own.run(arm, runs, pair=pair)
            runs.append(msgspec.structs.replace(run, pair=pair))
            seen.append(server.prompts[-3:])
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert all(run.value(Metric.PROMPT) for run in runs)
    assert {run.words for run in runs} == {runs[0].words}
    assert {run.prompt_tokens for run in runs} == {runs[0].prompt_tokens}


def test_records_of_endpoints_hold_no_address_and_no_build(
    servers: dict[str, tuple[OpenAiServer, str]], project: Project
) -> None:
    own = subject(servers, project)
    run = own.run(Arm.CANDIDATE, [], pair=1)
    line = ENDPOINT_PAIRS.encode(run)
    assert b"127.0.0.1" not in line
    assert (run.build, run.weights, run.locked) == (None, None, None)
    assert run.reported
    assert run.foreign
    place = RecordLocation(host_slug="h", record_id=run.record_id)
    decoded = ENDPOINT_PAIRS.decode(line.rstrip(b"\n"), where="here", place=place)
    assert decoded.value(Metric.PROMPT) == run.value(Metric.PROMPT)


def test_another_vocabulary_is_refused(
    servers: dict[str, tuple[OpenAiServer, str]], project: Project
) -> None:
    own = subject(servers, project)
    run = own.run(Arm.BASELINE, [], pair=1)
    servers["b"][0].template_tokens = 100
    with pytest.raises(MeasureError, match="another vocabulary or chat template"):
        own.run(Arm.CANDIDATE, [run], pair=1)


def test_endpoint_that_is_down_stops_before_anything_is_measured() -> None:
    (case, *_) = cases(named("a"), named("b"), a=endpoint(), b=endpoint())
    with pytest.raises(MeasureError, match="endpoint a: "):
        identified(case)
