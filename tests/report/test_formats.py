"""Base units as people read them."""

import pytest

from llamatrix.reference.quantity import Quantity
from llamatrix.report.formats import amount_text, interval_text, ratio_text


@pytest.mark.parametrize(
    ("quantity", "value", "text"),
    [
        (Quantity.PREFILL_RATE, 3037.4, "3,037 tokens/s"),
        (Quantity.GENERATION_RATE, 45.884, "45.88 tokens/s"),
        (Quantity.MODEL_SIZE, 16.4 * 2**30, "16.40 GiB"),
        (Quantity.TOTAL_PARAMS, 26.9e9, "26.9 B"),
        (Quantity.TOTAL_PARAMS, 2_770_000, "2.77 M"),
        (Quantity.PROMPT_TIME, 4.114, "4.11 s"),
        (Quantity.PROMPT_TOKENS, 17847, "17,847 tokens"),
    ],
)
def test_an_amount_has_the_unit_that_suits_it(
    quantity: Quantity, value: float, text: str
) -> None:
    assert amount_text(quantity, value) == text


def test_a_missing_ratio_reads_not_available() -> None:
    assert ratio_text(None) == "n/a"
    assert interval_text(None) == ""
    assert interval_text((0.95812, 1.0)) == "[0.958, 1]"
