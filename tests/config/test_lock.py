"""Corrected templates in the lock, and which cells depend on them."""

import msgspec
import pytest
from tests.shipped import shipped_lock, shipped_matrix

from llamatrix.config.expand import expand_plan
from llamatrix.config.lock import locked_template, template_names
from llamatrix.errors import MatrixError

MATRIX = shipped_matrix()
LOCK = shipped_lock()
WITHOUT = msgspec.structs.replace(LOCK, templates={})


def test_lock_pins_corrected_templates_only() -> None:
    for key, model in MATRIX.models.items():
        pinned = locked_template(MATRIX, LOCK, key)
        assert (pinned is None) == (model.chat_template_file is None)
    assert locked_template(MATRIX, LOCK, "qwen35-27b") == LOCK.templates["qwen35"]


def test_unlocked_template_is_refused_with_the_remedy() -> None:
    with pytest.raises(
        MatrixError, match=r"templates\.qwen35: not locked.*`invoke lock`"
    ):
        locked_template(MATRIX, WITHOUT, "qwen35-27b")
    assert locked_template(MATRIX, WITHOUT, "gemma4-31b") is None


def test_lock_has_exactly_the_templates_that_models_name() -> None:
    assert (
        LOCK.templates.keys() == template_names(MATRIX).keys() == {"qwen25", "qwen35"}
    )


@pytest.mark.parametrize("profile", MATRIX.profiles)
def test_speed_cell_digest_ignores_served_templates(profile: str) -> None:
    """llama-bench applies no template: changing one must not repeat measurements."""
    models = {
        key: msgspec.structs.replace(model, chat_template_file=None)
        for key, model in MATRIX.models.items()
    }
    bare = msgspec.structs.replace(MATRIX, models=models)
    pinned, unpinned = (
        expand_plan(MATRIX, LOCK, profile).speed,
        expand_plan(bare, WITHOUT, profile).speed,
    )
    assert [cell.spec_digest for cell in pinned] == [
        cell.spec_digest for cell in unpinned
    ]
