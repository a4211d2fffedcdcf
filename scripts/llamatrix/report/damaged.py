"""Lines of the store that cannot be read as records, as a table for every page."""

from collections.abc import Sequence

from llamatrix.records.store import DamagedLine
from llamatrix.report.tables import Table

TITLE = "Lines that could not be read"


def damaged_text(lines: Sequence[DamagedLine]) -> str:
    """Return the lines as a Markdown table, with a line break before; empty for none."""
    if not lines:
        return ""
    table = Table(
        title=f"{TITLE} (their results are missing from every table)",
        header=("File", "Line", "Reason"),
        rows=tuple((line.file, str(line.number), line.reason) for line in lines),
        right=(1,),
    )
    return f"\n{table.markdown()}"
