"""Plain rows as JSON: an array of objects, one a line."""

from collections.abc import Iterable, Sequence

import msgspec


def rows_json(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Null where CSV is empty."""
    lines = (
        msgspec.json.encode(
            {
                key: None if value == "" else value
                for key, value in zip(header, row, strict=True)
            }
        ).decode()
        for row in rows
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"
