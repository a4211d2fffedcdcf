"""Tables and plain rows as CSV, for programs."""

import csv
import io
from collections.abc import Iterable, Sequence

from llamatrix.report.table import Table


def table_csv(table: Table) -> str:
    """Return the table as it is read: rounded, with the reasons of missing values."""
    return rows_csv(
        [column.text for column in table.headings],
        ([cell.text for cell in row] for row in table.cells),
    )


def rows_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """RFC 4180 with Unix line ends; numbers unrounded as Python writes them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
