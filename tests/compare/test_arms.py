"""Which cells face each other, and what makes two comparisons the same one."""

import msgspec
import pytest
from tests.shipped import ROOT, shipped_context

from llamatrix.compare.arms import ArmSettings, parse_arm, with_pins
from llamatrix.compare.speed import (
    SPEED_METRICS,
    SpeedCase,
    parse_metrics,
    speed_cases,
)
from llamatrix.config.load import load_matrix
from llamatrix.config.matrix import Matrix
from llamatrix.errors import MatrixError
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

_MATRIX = load_matrix(ROOT / "matrix.toml")
_BASELINE = ArmSettings(pin="april")
_CANDIDATE = ArmSettings(pin="current")


def cases(
    baseline: ArmSettings = _BASELINE,
    candidate: ArmSettings = _CANDIDATE,
    *,
    matrix: Matrix = _MATRIX,
    profile: str = "engines",
    cells: str = "",
) -> tuple[SpeedCase, ...]:
    asked = {Arm.BASELINE: baseline, Arm.CANDIDATE: candidate}
    return speed_cases(shipped_context(profile, matrix), asked, cells=cells)


def test_every_model_is_compared_in_both_metrics() -> None:
    found = cases()
    assert len(found) == 4 * 2
    assert found[0].id == "speed/qwen35-27b.tiny/april..current/cpu/pp512"
    assert found[1].id == "speed/qwen35-27b.tiny/april..current/cpu/tg32"


def test_prompt_size_fills_a_micro_batch_where_possible() -> None:
    sweep = msgspec.structs.replace(_MATRIX.sweeps["smoke"], n_prompt=(64, 128))
    small = msgspec.structs.replace(_MATRIX, sweeps={**_MATRIX.sweeps, "smoke": sweep})
    assert cases(matrix=small)[0].id.endswith("/pp128")
    assert cases()[0].id.endswith("/pp512")


def test_builds_and_sweeps_can_be_compared_with_equal_pins() -> None:
    builds = cases(
        ArmSettings(pin="current"), ArmSettings(pin="current", build="cpu-native")
    )
    assert builds[0].id == "speed/qwen35-27b.tiny/current/cpu..cpu-native/pp512"
    assert not builds[0].identical
    same = cases(ArmSettings(pin="current"), ArmSettings(pin="current"))
    assert same[0].identical


def test_sweeps_are_compared_at_a_size_that_both_have() -> None:
    sweep = msgspec.structs.replace(
        _MATRIX.sweeps["smoke"], flash_attn=True, ubatch_size=256, n_prompt=(512, 1024)
    )
    both = msgspec.structs.replace(_MATRIX, sweeps={**_MATRIX.sweeps, "other": sweep})
    found = cases(
        ArmSettings(pin="april"), ArmSettings(pin="april", sweep="other"), matrix=both
    )
    assert found[0].id == "speed/qwen35-27b.tiny/april/cpu/smoke..other/pp512"


def test_digest_depends_on_arms_tests_and_order() -> None:
    forward = cases()
    backward = cases(_CANDIDATE, _BASELINE)
    digests = {case.digest for case in (*forward, *backward)}
    assert len(digests) == len(forward) + len(backward)
    assert [case.digest for case in cases()] == [case.digest for case in forward]


def test_digest_ignores_sizes_that_are_not_run() -> None:
    sweep = msgspec.structs.replace(_MATRIX.sweeps["smoke"], n_prompt=(512, 4096))
    other = msgspec.structs.replace(_MATRIX, sweeps={**_MATRIX.sweeps, "smoke": sweep})
    assert cases(matrix=other)[0].digest == cases()[0].digest


def test_glob_matches_comparisons_and_cells_of_either_arm() -> None:
    assert len(cases(cells="*/tg32")) == 4
    assert len(cases(cells="speed/gemma4-31b.tiny/april/cpu")) == 2
    assert len(cases(cells="speed/gemma4-31b.tiny/current/cpu")) == 2


def test_excluded_cells_are_not_compared() -> None:
    profile = msgspec.structs.replace(
        _MATRIX.profiles["engines"],
        exclude=("*/gemma4-31b*", "*/qwen35-27b.tiny/april/*"),
    )
    matrix = msgspec.structs.replace(_MATRIX, profiles={"engines": profile})
    models = {case.id.split("/")[1] for case in cases(matrix=matrix)}
    assert models == {"qwen35-35b-a3b.tiny", "gemma4-26b-a4b.tiny"}


def test_arms_without_a_common_metric_are_refused() -> None:
    sweep = msgspec.structs.replace(_MATRIX.sweeps["smoke"], n_prompt=(), n_gen=(7,))
    matrix = msgspec.structs.replace(_MATRIX, sweeps={**_MATRIX.sweeps, "odd": sweep})
    with pytest.raises(MatrixError, match="nothing to compare"):
        cases(candidate=ArmSettings(pin="current", sweep="odd"), matrix=matrix)


def test_repeated_metrics_are_read_once() -> None:
    assert parse_metrics("tg, pp,tg", SPEED_METRICS) == (
        Metric.GENERATION,
        Metric.PROMPT,
    )
    assert parse_metrics("", SPEED_METRICS) == (Metric.PROMPT, Metric.GENERATION)


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("april", ArmSettings(pin="april")),
        ("pin:april", ArmSettings(pin="april")),
        ("b9553", ArmSettings(pin="b9553")),
        ("build:cpu-native", ArmSettings(build="cpu-native")),
        (
            "current, server:smoke,template:my.jinja",
            ArmSettings(pin="current", server="smoke", template="my.jinja"),
        ),
        ("agent:april,context7:april", ArmSettings(agent="april", context7="april")),
        ("", ArmSettings()),
    ],
)
def test_arm_is_read_by_kind_and_name(text: str, settings: ArmSettings) -> None:
    assert parse_arm(text, _MATRIX, flag="--candidate") == settings


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sever:smoke", "unknown kind 'sever'; did you mean 'server'?; the kinds are"),
        ("endpoint:mine", "not in matrix.toml"),
        ("server:smok", "not in matrix.toml; did you mean 'smoke'?"),
        ("build:", "not in matrix.toml"),
    ],
)
def test_unusable_arm_names_flag_value_and_remedy(text: str, said: str) -> None:
    with pytest.raises(MatrixError) as error:
        parse_arm(text, _MATRIX, flag="--candidate")
    assert str(error.value).startswith("--candidate '")
    assert said in str(error.value)


def test_arm_without_a_pin_takes_the_other_arms_unless_it_names_nothing() -> None:
    april, build, nothing = (
        ArmSettings(pin="april"),
        ArmSettings(build="cpu-native"),
        ArmSettings(),
    )

    def pins(baseline: ArmSettings, candidate: ArmSettings) -> list[str]:
        arms = {Arm.BASELINE: baseline, Arm.CANDIDATE: candidate}
        return [arm.pin for arm in with_pins(arms, _MATRIX, "smoke").values()]

    assert pins(april, build) == ["april", "april"]
    assert pins(build, nothing) == ["current", "current"]
    assert pins(april, nothing) == ["april", "current"]


def test_two_models_are_compared_when_both_arms_name_one() -> None:
    qwen = ArmSettings(pin="current", model="qwen35-27b")
    gemma = ArmSettings(pin="current", model="gemma4-31b")
    found = cases(qwen, gemma)
    assert [case.id for case in found] == [
        "speed/qwen35-27b.tiny..gemma4-31b.tiny/current/cpu/pp512",
        "speed/qwen35-27b.tiny..gemma4-31b.tiny/current/cpu/tg32",
    ]
    assert not found[0].identical
    with pytest.raises(MatrixError, match="the other must name one too"):
        cases(qwen, ArmSettings(pin="current"))


def test_drafts_face_each_other_on_the_same_weights() -> None:
    arms = {
        arm: parse_arm(f"draft:{name},pin:current", _MATRIX, flag=f"--{arm}")
        for arm, name in ((Arm.BASELINE, "none"), (Arm.CANDIDATE, "mtp-2"))
    }
    found = speed_cases(shipped_context("drafts-smoke"), arms)
    engine = "speed/qwen35-27b.tiny-mtp/current/cpu/none..mtp-2"
    assert [case.id for case in found[:2]] == [f"{engine}/pp256", f"{engine}/tg64@d256"]
    baseline, candidate = (found[1].cells[arm] for arm in Arm)
    assert baseline.weights_identity == candidate.weights_identity
    assert (baseline.draft, candidate.draft) == (None, _MATRIX.drafts["mtp-2"])
    assert not found[1].identical
