"""A reference set is refused in one line: file, key path, value, nearest name."""

from pathlib import Path

import pytest
from tests.reference.synthetic_sets import CLEAN, changed, loaded
from tests.shipped import ROOT

from llamatrix.config.load import load_matrix
from llamatrix.errors import ReportError
from llamatrix.reference.reference_set import (
    Claim,
    Grade,
    ReferenceSet,
    find_set,
    load_set,
)

PUBLISHED = ROOT / "reports" / "published"
SETS = sorted(path.stem for path in PUBLISHED.glob("*.toml"))


def shipped(name: str) -> ReferenceSet:
    return load_set(
        find_set(name, PUBLISHED),
        models=load_matrix(ROOT / "matrix.toml").models,
    )


def claims(name: str) -> dict[str, Claim]:
    return {claim.id: claim for claim in shipped(name).claims()}


@pytest.mark.parametrize("name", SETS)
def test_every_shipped_set_is_decoded_and_says_where_it_is_from(name: str) -> None:
    whole = shipped(name)
    assert whole.claims()
    assert whole.source.where
    for claim in whole.claims():
        assert claim.conditions.gpu, claim.id


def test_every_grade_is_shipped() -> None:
    assert {shipped(name).source.grade for name in SETS} == set(Grade)


def test_the_blog_is_complete() -> None:
    found = claims("blog-2026-04-05")
    by_table: dict[str, int] = {}
    for claim in found.values():
        by_table[claim.table] = by_table.get(claim.table, 0) + 1
    assert by_table == {
        "models": 4 * 2,
        "active-dense": 2,
        "active-moe": 2,
        "prefill": 4 * 7,
        "generation": 4,
        "agent": 4 * 18,
        "runs": 4 * 2,
        "remarks": 3,
        "remarks-35b": 5,
        "remarks-26b": 3,
        "remarks-bench": 4,
        "takeaways": 4,
        "speed": 4 * 4,
        "efficiency": 4 * 6,
        "fit": 4 * 2,
        "summary": 4 * 4,
    }
    words = shipped("blog-2026-04-05").words
    assert {len(aspects) for aspects in words["code-quality"].rows.values()} == {5}
    assert len(words["code-quality"].rows) == 4


@pytest.mark.parametrize(
    ("claim", "text"),
    [
        ("prefill/qwen35-27b/2048", "3,069 tokens/s"),
        ("prefill/gemma4-31b/65336", "1,869 tokens/s"),
        ("generation/qwen35-35b-a3b/tg128", "165.84 tokens/s"),
        ("agent/gemma4-31b/p2/generation-time", "169.53 s"),
        ("agent/gemma4-26b-a4b/p2/generation-time", "125.56 s"),
        ("agent/qwen35-27b/p2/generation-time", "265.00 s"),
        ("summary/gemma4-26b-a4b/generation-rate", "~135 tokens/s"),
        ("efficiency/qwen35-35b-a3b/p2/tool-calls", "28 calls"),
        ("fit/qwen35-27b/max-context", "130,672 tokens"),
        ("models/gemma4-31b/size", "17.46 GiB"),
        ("active-moe/gemma4-26b-a4b/active-params", "~4 billions"),
        ("takeaways/gemma4-31b/generation-rate", "~40–45 tokens/s"),
        ("remarks-35b/qwen35-35b-a3b/p2/generated-tokens", "~32,000 tokens"),
    ],
)
def test_a_figure_of_the_blog_stands_as_it_was_printed(claim: str, text: str) -> None:
    assert claims("blog-2026-04-05")[claim].text == text


def test_what_the_blog_says_beside_its_figures_is_kept() -> None:
    whole = shipped("blog-2026-04-05")
    says, not_said = "\n".join(whole.source.says), "\n".join(whole.source.not_said)
    assert "turboquant" in says
    assert "gemini-2.5-flash-image" in says
    assert "critical API parameter" in says
    assert "the largest context size that fits in VRAM" in says
    assert "qwen35-chat-template-corrected.jinja" in not_said
    assert "between model runs" in whole.tables["agent"].about


def test_the_sets_of_qwen36_are_proxies() -> None:
    for name in SETS:
        for key, model in shipped(name).models.items():
            if "3.6" in model.name:
                assert key.startswith("qwen36-"), name
                assert model.proxy_for == key.replace("qwen36", "qwen35"), name


def test_conditions_come_from_set_model_setup_and_column() -> None:
    found = claims("blog-2026-04-05")["agent/qwen35-27b/p2/generation-rate"].conditions
    assert found.gpu == "rtx-4090"
    assert found.quant == "Q4_K_XL"
    assert found.program == "llama-server"
    assert (found.ctx_size, found.temp, found.top_p) == (130672, 0.6, None)
    assert found.task == "p2"


def test_a_proxy_names_the_model_it_stands_for() -> None:
    found = claims("khmel-2026-06-07")["generation/qwen36-27b/h200-sxm"]
    assert (found.model, found.proxy_for) == ("qwen36-27b", "qwen35-27b")
    assert (found.value, found.conditions.gpu) == (76, "h200-sxm")
    assert found.architecture_key == "qwen35-27b"


def test_a_new_gpu_can_be_brought_by_the_set_itself(tmp_path: Path) -> None:
    row = """
[gpus.new-card]
name = "New"
memory_gib = 24
bandwidth_gb_s = 1000
fp16_tflops = 1
fp16_fp32_tflops = 1
int8_tops = 1
source = "a leaflet"
"""
    text = changed('gpu = "rtx-4090"', 'gpu = "new-card"') + row
    assert loaded(text, tmp_path).claims()[0].conditions.gpu == "new-card"


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            'small = { name = "Small"',
            'smal = { name = "Small"',
            "setups.server.models.small: unknown name 'small'; did you mean 'smal'?",
        ),
        (
            'name = "Small",',
            'name = "Small", proxy_for = "qwen35-72b",',
            (
                "models.small.proxy_for: unknown name 'qwen35-72b'; "
                "did you mean 'qwen35-27b'?"
            ),
        ),
        (
            'quantity = "model-size", unit = "GiB",',
            'quantity = "model-size",',
            "tables.models.columns[0].unit: missing",
        ),
        (
            "small = [6.93, 7.00",
            'small = ["6.93", 7.00',
            "tables.models.rows.small[0]: expected `float | array`, got '6.93'",
        ),
        (
            "small = [6.93, 7.00",
            "small = [-6.93, 7.00",
            "tables.models.rows.small[0]: expected `float` >= 0.0, got -6.93",
        ),
        (
            'quantity = "model-size", unit = "GiB"',
            'quantity = "model-size", unit = "Gib"',
            (
                "tables.models.columns[0].unit: no known word, got 'Gib'; "
                "did you mean 'GiB'?"
            ),
        ),
        (
            'quantity = "model-size", unit = "GiB"',
            'quantity = "model-size", unit = "tokens/s"',
            (
                "tables.models.columns[0].unit: 'tokens/s' is not a unit of model-size; "
                "use GB or GiB or MB or MiB"
            ),
        ),
        (
            "ubatch_size = 512",
            "ubatch_siz = 512",
            "conditions.ubatch_siz: unknown key; did you mean 'ubatch_size'?",
        ),
        (
            'small = { name = "Small", ',
            'small = { name = "Small", shape = { total_params_b = 0 }, ',
            "models.small.shape.total_params_b: expected `float` > 0.0, got 0",
        ),
        (
            "small = [9000, 8900]",
            "small = [9000, [8900, 8800]]",
            "tables.prefill.rows.small[1]: a range ends below its start",
        ),
        (
            "[tables.tasks]",
            '[statements.twice]\nsays = "twice"\nquantity = "vram"\nis = "times"\n[tables.tasks]',
            'statements.twice.factor: belongs to `is = "times"`, and to nothing else',
        ),
        (
            "[tables.tasks]",
            '[statements.most]\nsays = "most"\nquantity = "vram"\nis = "above"\nof = ["smal"]\n[tables.tasks]',
            "statements.most.of: unknown name 'smal'; did you mean 'small'?",
        ),
        (
            "small = [9000, 8900]",
            "small = [9000]",
            "tables.prefill.rows.small: 1 numbers for 2 columns",
        ),
        (
            '{ id = "2048",',
            '{ id = "512",',
            "tables.prefill.columns[1].id: '512' is used twice",
        ),
        (
            'title = "Generation"\nsetup = "bench"',
            'title = "Generation"\nsetup = "bnech"',
            "tables.generation.setup: unknown name 'bnech'; did you mean 'bench'?",
        ),
        (
            "models = { small = {",
            "models = { smal = {",
            "setups.server.models.smal: unknown name 'smal'; did you mean 'small'?",
        ),
        (
            "small = [19, 20]",
            "smal = [19, 20]",
            "tables.tasks.rows.smal: unknown name 'smal'; did you mean 'small'?",
        ),
        (
            'date = "2026-01-01"',
            "date = 2026-01-01",
            "source.date: expected `str | null`, got datetime.date(2026, 1, 1)",
        ),
    ],
)
def test_a_mistake_in_a_set_is_reported_in_one_line(
    old: str, new: str, complaint: str, tmp_path: Path
) -> None:
    with pytest.raises(ReportError) as caught:
        loaded(changed(old, new), tmp_path)
    assert str(caught.value).splitlines()[0] == f"synthetic.toml: {complaint}"
    assert caught.value.exit_code == 7


def test_broken_toml_is_an_error_of_the_report(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"synthetic\.toml: not valid TOML"):
        loaded(CLEAN + "\n[", tmp_path)


def test_a_set_is_found_by_name_or_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(CLEAN)
    assert find_set("blog-2026-04-05", PUBLISHED).parent == PUBLISHED
    assert find_set(str(path), PUBLISHED) == path
    with pytest.raises(ReportError, match="did you mean 'blog-2026-04-05'"):
        find_set("blog-2026-04-06", PUBLISHED)


def test_printed_range_of_a_count_keeps_its_ends(tmp_path: Path) -> None:
    text = changed("63.91, 1000, 9, 7, 1]", "63.91, 1000, [4, 6], 7, 1]")
    found = {claim.id: claim for claim in loaded(text, tmp_path).claims()}
    calls = found["agent/qwen35-27b/p1/api-calls"]
    assert (calls.interval.low, calls.interval.high) == (4, 6)
    assert calls.text == "4–6 calls"
