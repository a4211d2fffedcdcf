"""An audit finds what cannot be, says it with its arithmetic, and invents nothing."""

from pathlib import Path

import msgspec
import pytest
from tests.reference.synthetic_sets import CLEAN, audited, changed, loaded
from tests.reference.test_reference_set import SETS, shipped

from llamatrix.reference.audit import AuditReport, audit, audit_report
from llamatrix.reference.gpu import load_gpus
from llamatrix.reference.quantity import Interval
from llamatrix.reference.reference_set import Claim
from llamatrix.reference.rules.digits import misprinted_power, misprints, simplest
from llamatrix.reference.rules.rule import Severity, findings_about


def test_a_clean_set_has_no_findings(tmp_path: Path) -> None:
    assert audited(CLEAN, tmp_path) == ()


SEEDED_ERRORS = """
63.91                              | 93.91                              | tokens/time=rate        | impossible   | agent/qwen35-27b/p1/generation-time
[2474, 15043, 6080                 | [2474, 15430, 6080                 | tokens/time=rate        | inconsistent | agent/qwen35-27b/p1/prompt-tokens
qwen35-27b = [2470]                | qwen35-27b = [2740]                | printed twice           | inconsistent | speed/qwen35-27b/p1/prefill-rate
qwen35-27b = [130560]              | qwen35-27b = [135060]              | printed twice           | inconsistent | summary/qwen35-27b/max-context
[45, 21, 130000]                   | [54, 21, 130000]                   | summary=details         | inconsistent | summary/qwen35-27b/generation-rate
[45.88]                            | [145.88]                           | speed<=hardware         | impossible   | generation/qwen35-27b/tg128
[110.00]                           | [210.00]                           | speed<=hardware         | impossible   | generation/small/tg128
[3000, 2950]                       | [30000, 2950]                      | speed<=hardware         | impossible   | prefill/qwen35-27b/512
[45, 21, 130000]                   | [45, 31, 130000]                   | VRAM<=card              | impossible   | summary/qwen35-27b/vram
[45, 21, 130000]                   | [45, 12, 130000]                   | VRAM>=model             | impossible   | summary/qwen35-27b/vram
qwen35-27b = [130560]              | qwen35-27b = [900000]              | VRAM>=weights+context   | impossible   | summary/qwen35-27b/vram
qwen35-27b = { ctx_size = 130560 } | qwen35-27b = { ctx_size = 999936 } | VRAM>=weights+context   | impossible   | summary/qwen35-27b/vram
qwen35-27b = [130560]              | qwen35-27b = [900000]              | context<=card           | impossible   | fit/qwen35-27b/max-context
qwen35-27b = [130560]              | qwen35-27b = [130672]              | misprinted power of two | odd          | fit/qwen35-27b/max-context
prompt_tokens = 2048               | prompt_tokens = 32678              | misprinted power of two | odd          | prefill/small/2048
small = [99, 9, 4000]              | small = [[90, 95], 9, 4000]        | summary=details         | inconsistent | summary/small/generation-rate
[16.40, 26.90,                     | [16.40, 62.90,                     | size/parameters=bits    | odd          | models/qwen35-27b/total-params
26.90, 26.90]                      | 26.90, 29.60]                      | part<=whole             | impossible   | models/qwen35-27b/active-params
1000, 9, 7, 1]                     | 1000, 9, 7, 10]                    | part<=whole             | impossible   | agent/qwen35-27b/p1/correct-turn
1000, 9, 7, 1]                     | 1000, 9, 17, 1]                    | part<=whole             | odd          | agent/qwen35-27b/p1/tool-calls
1000, 9, 7, 1]                     | 10000, 9, 7, 1]                    | part<=whole             | impossible   | agent/qwen35-27b/p1/reasoning-tokens
[19, 20]                           | [91, 20]                           | part<=whole             | impossible   | tasks/small/solved
[3000, 2950]                       | [3000, 3050]                       | rates fall with context | odd          | prefill/qwen35-27b/2048
[45.88]                            | [40.88]                            | agent<=benchmark        | inconsistent | agent/qwen35-27b/p1/generation-rate
[9000, 8900]                       | [4900, 4800]                       | agent<=benchmark        | inconsistent | agent/small/p1/prefill-rate
"""
"""What is changed into what, the rule that finds it, how severe it is, and a claim."""


@pytest.mark.parametrize(
    ("old", "new", "rule", "severity", "claim"),
    [
        tuple(map(str.strip, line.split("|")))
        for line in SEEDED_ERRORS.strip().splitlines()
    ],
)
def test_a_seeded_error_is_found(
    old: str, new: str, rule: str, severity: str, claim: str, tmp_path: Path
) -> None:
    found = [one for one in audited(changed(old, new), tmp_path) if one.rule == rule]
    assert {one.severity for one in found} == {severity}
    assert any(claim in one.claims for one in found)
    assert all(any(sign.isdigit() for sign in one.arithmetic) for one in found)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("63.91", "63.90"),  # within the rounding of 44.9
        ("[3000, 2950]", "[3000, 3020]"),  # a rise within the tolerance
        ("[45, 21, 130000]", "[44, 21, 130000]"),  # ~44 admits 44.9
        ("[45, 21, 130000]", "[45, 24, 130000]"),  # 24 GB of 24 GiB
        ("[45.88]", "[44.88]"),  # the agent as fast as the benchmark
    ],
)
def test_a_difference_within_rounding_or_noise_is_not_reported(
    old: str, new: str, tmp_path: Path
) -> None:
    assert audited(changed(old, new), tmp_path) == ()


@pytest.mark.parametrize(
    "said", ["speculative = true", "streams = 4", 'offload = "experts on the CPU"']
)
def test_a_speed_of_another_kind_is_not_held_against_the_bandwidth(
    said: str, tmp_path: Path
) -> None:
    text = changed("[45.88]", "[145.88]")
    assert "speed<=hardware" in {one.rule for one in audited(text, tmp_path)}
    text = text.replace("gen_tokens = 128", f"gen_tokens = 128, {said}")
    assert "speed<=hardware" not in {one.rule for one in audited(text, tmp_path)}


def test_a_doubtful_data_sheet_makes_a_finding_no_more_than_odd(tmp_path: Path) -> None:
    text = changed('gpu = "rtx-4090"', 'gpu = "rtx-pro-4000-blackwell"')
    found = [one for one in audited(text, tmp_path) if one.rule == "speed<=hardware"]
    assert found
    assert {one.severity for one in found} == {Severity.ODD}


def test_columns_of_one_table_are_samples_not_contradictions(tmp_path: Path) -> None:
    text = CLEAN + (
        "[tables.samples]\n"
        'title = "Samples"\n'
        "columns = [\n"
        '  { id = "1", quantity = "first-token-time", unit = "s", step = 0.1 },\n'
        '  { id = "2", quantity = "first-token-time", unit = "s", step = 0.1 },\n'
        "]\n"
        "[tables.samples.rows]\n"
        "small = [0.2, 0.9]\n"
    )
    assert audited(text, tmp_path) == ()


def test_the_impossible_figure_of_the_blog_is_found_with_its_misprint() -> None:
    found = audit(shipped("blog-2026-04-05"), load_gpus())
    impossible = [one for one in found if one.severity is Severity.IMPOSSIBLE]
    assert [one.text for one in impossible] == [
        (
            "impossible: 3,435 tokens in 125.56 s is not 134.4 tokens/s\n"
            "  3,435 / 125.56 = 27.36, with rounding 27.356 to 27.359; "
            "printed 134.4, so 134.35 to 134.45: a factor of 4.91 apart\n"
            "  hint: agent/gemma4-26b-a4b/p1/generation-rate (135.5) supports the "
            "printed rate; one digit too many: 125.56 s may mean 25.56, "
            "for 3,435 / 25.56 = 134.4\n"
            "  claims: agent/gemma4-26b-a4b/p2/generated-tokens, "
            "efficiency/gemma4-26b-a4b/p2/generated-tokens, "
            "agent/gemma4-26b-a4b/p2/generation-time, "
            "agent/gemma4-26b-a4b/p2/generation-rate, "
            "speed/gemma4-26b-a4b/p2/generation-rate"
        )
    ]
    assert impossible[0].suspect == "agent/gemma4-26b-a4b/p2/generation-time"


def test_the_other_findings_in_the_blog_are_inconsistent_or_odd() -> None:
    found = audit(shipped("blog-2026-04-05"), load_gpus())
    dense = "gemma4-31b/generation-rate"
    assert [(one.severity, one.rule, one.claims[0]) for one in found[1:]] == [
        (
            Severity.INCONSISTENT,
            "summary=details",
            "remarks/gemma4-31b/65336/generation-rate",
        ),
        (Severity.INCONSISTENT, "summary=details", f"takeaways/{dense}"),
        (Severity.ODD, "largest context that fits", "fit/qwen35-27b/max-context"),
        (Severity.ODD, "rates fall with context", "prefill/qwen35-27b/512"),
        (Severity.ODD, "rates fall with context", "prefill/gemma4-26b-a4b/512"),
        (Severity.ODD, "misprinted power of two", "prefill/qwen35-27b/65336"),
        (Severity.ODD, "misprinted power of two", "fit/qwen35-27b/max-context"),
    ]


def test_a_range_is_printed_as_one_and_contradicted_by_what_lies_outside() -> None:
    found = audit(shipped("blog-2026-04-05"), load_gpus())
    (one,) = [one for one in found if one.claims[0].startswith("takeaways/")]
    assert one.says == (
        "gemma4-31b: generation-rate ~40–45 tokens/s in takeaways summarises "
        "37.7, 35.2, 37.7, 35.2"
    )
    assert one.arithmetic == "39 to 46 tokens/s lies outside 35.15 to 37.75 tokens/s"


@pytest.mark.parametrize(
    ("tokens", "meant"),
    [
        (65336, (65536, 1)),
        (130672, (131072, 2)),
        (261344, (262144, 4)),
        (131027, (131072, 1)),
        (32678, (32768, 1)),
        *((good, None) for good in (65536, 131072, 65535, 65530, 65000, 64000)),
        *((good, None) for good in (163840, 200000, 256000, 262144, 98304, 4096)),
        *((good, None) for good in (40960, 4069, 128000, 16000, 32000, 1048576)),
    ],
)
def test_a_misprinted_power_of_two_is_one_digit_away_and_may_be_doubled(
    tokens: int, meant: tuple[int, int] | None
) -> None:
    assert misprinted_power(tokens) == meant


def with_shape(attention: str) -> str:
    return changed(
        'small = { name = "Small", conditions = { quant = "Q8_0" } }',
        'small = { name = "Small", conditions = { quant = "Q8_0" }, shape = '
        f"{{ total_params_b = 7.0, attention = [{attention}] }} }}",
    )


def test_the_memory_of_any_model_is_checked_by_the_shape_its_set_gives(
    tmp_path: Path,
) -> None:
    layers = "{ layers = 32, kv_heads = 8, head_dim = 128 }"
    fits = with_shape(layers)
    report = audit_report("fits", loaded(fits, tmp_path), load_gpus())
    assert [one for one in report.findings if "small" in one.says] == []
    assert not any("small" in one for one in report.unchecked)
    too_long = fits.replace(
        "small = { ctx_size = 4096 }", "small = { ctx_size = 199999 }"
    )
    (found,) = [
        one
        for one in audited(too_long, tmp_path)
        if one.rule == "VRAM>=weights+context"
    ]
    # q4_0 where nobody says: 2 x 32 x 8 x 128 x 18/32 bytes a token, 256 cells at a time
    cells = -(-199999 // 256) * 256
    assert (
        f"{2 * 32 * 8 * 128 * 18 / 32 * cells / 2**30:.2f} of cache" in found.arithmetic
    )
    assert found.severity is Severity.IMPOSSIBLE


def test_a_model_without_a_shape_is_audited_and_the_gap_is_reported(
    tmp_path: Path,
) -> None:
    report = audit_report("synthetic", loaded(CLEAN, tmp_path), load_gpus())
    assert report.findings == ()
    assert (
        "memory against the context of small: its layers are not known"
        in report.unchecked
    )
    assert "not checked:\n" in report.text


def test_a_card_that_no_table_knows_does_not_stop_the_audit(tmp_path: Path) -> None:
    text = changed('gpu = "rtx-4090"', 'gpu = "rtx-4900"')
    report = audit_report("synthetic", loaded(text, tmp_path), load_gpus())
    assert report.findings == ()
    assert (
        "GPU rtx-4900: no data sheet here; did you mean 'rtx-4090'?" in report.unchecked
    )


def test_by_the_shape_of_another_model_nothing_is_impossible(tmp_path: Path) -> None:
    text = changed(
        'small = { name = "Small"', 'small = { name = "Small", proxy_for = "qwen35-27b"'
    )
    text = text.replace("small = [110.00]", "small = [310.00]")
    found = [one for one in audited(text, tmp_path) if one.rule == "speed<=hardware"]
    assert found
    assert {one.severity for one in found} == {Severity.ODD}
    assert {one.hint for one in found} == {
        "by the shape of qwen35-27b, named in proxy_for"
    }


@pytest.mark.parametrize(
    ("statement", "arithmetic"),
    [
        ('quantity = "generation-rate"\nis = "above"\nof = ["small"]', None),
        (
            (
                'quantity = "generation-rate"\nis = "below"\nof = ["small"]\n'
                'tables = ["generation"]'
            ),
            "small 110.00 > qwen35-27b 45.88 tokens/s",
        ),
        (
            'quantity = "api-calls"\nis = "above"\nof = ["small"]\nthan = ["qwen35-27b"]',
            "qwen35-27b 9 > small 5 calls",
        ),
        (
            (
                'quantity = "prefill-rate"\nis = "times"\nof = ["small"]\nfactor = 3\n'
                'tables = ["prefill"]'
            ),
            None,
        ),
        (
            (
                'quantity = "prefill-rate"\nis = "times"\nof = ["small"]\nfactor = 5\n'
                'tables = ["prefill"]'
            ),
            "ratios of 3 to 3.02; 5 means 4.5 to 5.5",
        ),
    ],
)
def test_what_the_text_says_of_its_tables_is_checked(
    statement: str, arithmetic: str | None, tmp_path: Path
) -> None:
    text = f'{CLEAN}\n[statements.one]\nsays = "as we saw"\n{statement}\n'
    found = audited(text, tmp_path)
    assert [one.arithmetic for one in found] == ([arithmetic] if arithmetic else [])
    assert all(one.says.startswith('"as we saw" contradicts ') for one in found)


def test_a_context_with_room_left_is_not_the_largest_that_fits(tmp_path: Path) -> None:
    text = (
        f'{CLEAN}\n[statements.most]\nsays = "the most that fits"\n'
        'quantity = "max-context"\nis = "largest that fits"\n'
    ).replace(
        "ubatch_size = 512",
        'ubatch_size = 512\ncache_type_k = "q8_0"\ncache_type_v = "q8_0"',
    )
    (found,) = audited(text, tmp_path)
    assert found.rule == "largest context that fits"
    assert "fit/qwen35-27b/max-context" in found.claims
    full = text.replace("[45, 21, 130000]", "[45, 24, 130000]")
    assert audited(full, tmp_path) == ()


@pytest.mark.parametrize("name", SETS)
def test_only_the_blog_has_an_impossible_figure(name: str) -> None:
    found = audit(shipped(name), load_gpus())
    impossible = [one for one in found if one.severity is Severity.IMPOSSIBLE]
    assert len(impossible) == (name == "blog-2026-04-05")


def test_a_finding_is_carried_by_every_number_it_concerns() -> None:
    found = audit(shipped("blog-2026-04-05"), load_gpus())
    (carried,) = findings_about(found, "speed/gemma4-26b-a4b/p2/generation-rate")
    assert carried.rule == "tokens/time=rate"
    assert findings_about(found, "speed/gemma4-26b-a4b/p1/generation-rate") == ()


def test_the_worst_comes_first_and_the_json_says_what_the_text_says(
    tmp_path: Path,
) -> None:
    text = changed("[3000, 2950]", "[3000, 3050]").replace("63.91", "93.91")
    report = audit_report("synthetic", loaded(text, tmp_path), load_gpus())
    assert [one.severity for one in report.findings] == [
        Severity.IMPOSSIBLE,
        Severity.ODD,
    ]
    assert msgspec.json.decode(report.json, type=AuditReport) == report
    assert report.text.startswith("synthetic: 42 numbers, 2 findings\n")


@pytest.fixture
def time(tmp_path: Path) -> Claim:
    """It says 63.91 s."""
    (found,) = (
        claim
        for claim in loaded(CLEAN, tmp_path).claims()
        if claim.id == "agent/qwen35-27b/p1/generation-time"
    )
    return found


@pytest.mark.parametrize(
    ("meant", "kind"),
    [
        (6.91, "one digit too many"),
        (36.91, "two digits swapped"),
        (6.391, "point misplaced"),
        (63.41, "one digit wrong"),
        (163.91, "one digit missing"),
    ],
)
def test_a_single_misprint_is_named_by_its_kind(
    meant: float, kind: str, time: Claim
) -> None:
    near = Interval(low=meant - 0.001, high=meant + 0.001)
    found = simplest(misprints(time, near.meets))
    assert found[0].kind == kind
    assert found[0].value == pytest.approx(meant)


def test_a_figure_that_no_single_misprint_explains_has_none(time: Claim) -> None:
    assert misprints(time, Interval(low=77.70, high=77.75).meets) == ()
