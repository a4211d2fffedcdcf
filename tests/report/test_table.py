"""A cell keeps its value; text comes of it, never the other way round."""

from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Cell, Table, count, number, numbers


def tokens_text(value: float) -> str:
    return f"{value:,.1f}"


def made() -> Table:
    speed = number(1234.56, tokens_text, "tokens/s", note="disturbed")
    return Table(
        caption="Speed (tokens/s)",
        columns=("Model", *numbers("tokens/s", "n")),
        rows=(
            ("a | b\nc", speed, count(3)),
            ("d", number(None, tokens_text, missing="timed out"), count(0)),
        ),
    )


def test_a_table_as_markdown_escapes_words_and_aligns_numbers() -> None:
    assert markdown(made()) == (
        "### Speed (tokens/s)\n\n"
        "| Model    |            tokens/s |   n |\n"
        "|----------|---------------------|-----|\n"
        "| a \\| b c | 1,234.6 (disturbed) |   3 |\n"
        "| d        |           timed out |   0 |\n"
    )


def test_a_cell_whose_text_says_more_keeps_its_value() -> None:
    cell = Cell(value=0.9, format="18/20")
    assert (cell.value, cell.text) == (0.9, "18/20")


def test_the_name_of_a_table_leaves_brackets_out() -> None:
    assert made().name == "speed"
