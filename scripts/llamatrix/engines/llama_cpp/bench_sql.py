"""Rows of llama-bench as `llama-bench -o sql` prints them.

llama.cpp's `scripts/compare-llama-bench.py` joins the rows of two commits on every
setting, so a setting that the command line leaves to the build has one value here,
whatever each pin prints for its own default.
"""

from collections.abc import Iterable, Sequence

import msgspec

_LEFT_TO_THE_BUILD: dict[str, tuple[tuple[str, ...], object]] = {
    "n_gpu_layers": (("-ngl", "--n-gpu-layers"), -1),
    "load_mode": (("-lm", "--load-mode", "-mmp", "--mmap"), "auto"),
    "fit_target": (("-fitt", "--fit-target"), 0),
    "fit_min_ctx": (("-fitc", "--fit-ctx"), 0),
}
"""By column, the flags that set it and the value without any of them."""
_TABLE = "llama_bench"


def sql_row(raw: bytes, *, argv: Sequence[str], model_type: str) -> dict[str, object]:
    """Return the columns of a row of `-o jsonl`, ready to be joined across commits.

    `model_type` replaces llama-bench's own name, which changes between commits.
    """
    row = msgspec.json.decode(raw, type=dict[str, object])
    for column, (flags, default) in _LEFT_TO_THE_BUILD.items():
        if not set(flags) & set(argv):
            row[column] = default
        elif column == "load_mode" and column not in row:  # older builds
            row[column] = "mmap" if row.get("use_mmap") else "none"
    row["model_type"] = model_type
    return {key: value for key, value in row.items() if not isinstance(value, list)}


def sql_script(rows: Iterable[dict[str, object]]) -> str:
    """Return the statements that create and fill the table, for `sqlite3 FILE`."""
    kept = list(rows)
    columns = {key: _type(value) for row in kept for key, value in row.items()}
    head = ",\n".join(f"  {name} {kind}" for name, kind in columns.items())
    lines = [f"CREATE TABLE IF NOT EXISTS {_TABLE} (\n{head}\n);\n"]
    for row in kept:
        values = ", ".join(_literal(value) for value in row.values())
        names = ", ".join(row)
        lines.append(f"INSERT INTO {_TABLE} ({names}) VALUES ({values});")  # noqa: S608  # text for another program
    return "\n".join(lines) + "\n"


def _type(value: object) -> str:
    match value:
        case int():
            return "INTEGER"
        case float():
            return "REAL"
        case _:
            return "TEXT"


def _literal(value: object) -> str:
    text = str(int(value)) if isinstance(value, bool) else str(value)
    return "'" + text.replace("'", "''") + "'"
