"""What was measured with synthetic weights says so in a box, on every kind of page."""

from pathlib import Path

import pytest
from tests.report.made_sweep import MODELS, blog, stored, sweep

from llamatrix.config.matrix import WeightsKind
from llamatrix.reference.gpu import load_gpus
from llamatrix.report.inputs import read_speed_index
from llamatrix.report.set_comparison import compare_group, set_comparison_text
from llamatrix.report.speed import groups


@pytest.mark.parametrize("kind", [WeightsKind.FULL, WeightsKind.HUB])
def test_a_comparison_with_a_set_has_the_box(kind: WeightsKind, tmp_path: Path) -> None:
    index = read_speed_index(stored(tmp_path, sweep(weights=kind)))
    (group,) = groups(index.records, models=MODELS)
    text = set_comparison_text(compare_group(blog(), group, index, dict(load_gpus())))
    assert ("> [!WARNING]" in text) is kind.synthetic
