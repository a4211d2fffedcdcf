"""A table as Markdown, for a page or a terminal."""

from pathlib import Path

from llamatrix.errors import ReportError
from llamatrix.report.table import Table


def markdown(table: Table) -> str:
    """Return a GitHub table below its caption as a heading."""
    from tabulate import tabulate

    columns = table.headings
    body = tabulate(
        [[_one_line(cell.text) for cell in row] for row in table.cells],
        headers=[column.text for column in columns],
        tablefmt="github",
        colalign=["right" if column.number else "left" for column in columns]
        if table.rows
        else None,
        disable_numparse=True,
    )
    return f"### {table.caption}\n\n{body}\n"


def _one_line(text: str) -> str:
    """Words out of a record can neither end a cell nor a row."""
    return " ".join(text.replace("|", "\\|").splitlines())


def warning_box(text: str) -> tuple[str, ...]:
    """Return the lines of an alert as GitHub renders it; none for an empty text."""
    return ("> [!WARNING]", f"> {text}", "") if text else ()


def write_page(path: Path, text: str) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ReportError(f"{path}: cannot be written: {error.strerror}") from error
    return path
