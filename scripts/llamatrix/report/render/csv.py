"""Plain rows as CSV, for programs."""

import csv
import io
from collections.abc import Iterable, Sequence


def rows_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """RFC 4180 with Unix line ends; numbers unrounded as Python writes them."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return out.getvalue()
