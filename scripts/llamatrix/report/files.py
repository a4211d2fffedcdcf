"""Files for programs: tidy rows and every table, as CSV, as JSON, and in one SQLite file."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from llamatrix.report.render.rows import Rows, rows_csv, rows_json
from llamatrix.report.speed import Group
from llamatrix.report.table import Cell, Table
from llamatrix.report.tidy import speed_rows, trial_rows, turn_rows
from llamatrix.report.trials import TrialGroup
from llamatrix.report.views.drafts import draft_tables
from llamatrix.report.views.speed import tables
from llamatrix.report.views.trials import trial_tables

DATABASE = "llamatrix.sqlite"
_TABLES = "tables"
"""The folder of the tables that people read."""
_OF_SETUP = (
    *("weights", "pin", "build", "agent", "agent_kind", "agent_version"),
    *("context7", "network"),
)


def rows_by_name(
    groups: Sequence[Group],
    trials: Sequence[TrialGroup],
    served: Iterable[tuple[object, dict[str, Group]]] = (),
) -> dict[str, Rows]:
    """The tidy rows, `speed`, `trials` and `turns`, then each table of any group.

    Tables of one name are one, with columns for what tells the groups apart.
    """
    named: dict[str, Rows] = {}
    if groups:
        named["speed"] = speed_rows(groups)
    if trials:
        named |= {"trials": trial_rows(trials), "turns": turn_rows(trials)}
    shown: dict[str, list[tuple[dict[str, str], Table]]] = {}
    for group in groups:
        for table in tables(group):
            shown.setdefault(table.name, []).append((_head_of(group), table))
    for trial_group in trials:
        setup = trial_group.setup
        head = {
            "host": setup.host_slug,
            **{name: str(getattr(setup, name)) for name in _OF_SETUP},
            "scripted": "yes" if setup.scripted else "no",
        }
        for table in trial_tables(trial_group):
            shown.setdefault(f"agent-{table.name}", []).append((head, table))
    for _, drafts in served:
        head = _head_of(next(iter(drafts.values())))
        for table in draft_tables(drafts):
            shown.setdefault(f"serve-speed-{table.name}", []).append((head, table))
    return named | {f"{_TABLES}/{name}": _joined(each) for name, each in shown.items()}


def _head_of(group: Group) -> dict[str, str]:
    values = (group.host_slug, group.weights, group.pin, group.build, group.sweep)
    names = ("host", "weights", "pin", "build", "sweep")
    return dict(zip(names, map(str, values), strict=True))


def texts_of(rows: Mapping[str, Rows]) -> dict[str, str]:
    """The files by name: CSV of all, and JSON of the tidy rows."""
    tidy = {name: each for name, each in rows.items() if "/" not in name}
    return {
        **{f"{name}.csv": rows_csv(each) for name, each in rows.items()},
        **{f"{name}.json": rows_json(each) for name, each in tidy.items()},
    }


def _joined(tables: Iterable[tuple[Mapping[str, str], Table]]) -> Rows:
    """The rows of all tables below the columns of all: unrounded, empty for no value."""
    rows = [
        {**head, **dict(zip(_headings(table, head), map(_value, row), strict=True))}
        for head, table in tables
        for row in table.cells
    ]
    header = tuple(dict.fromkeys(column for row in rows for column in row))
    return header, [tuple(row.get(column, "") for column in header) for row in rows]


def _headings(table: Table, head: Iterable[str]) -> list[str]:
    """With the unit of the values, and numbered where a heading repeats, in any case."""
    taken = Counter(head)
    names: list[str] = []
    for place, column in enumerate(table.headings):
        name = column.text
        units = {row[place].unit for row in table.cells} - {""}
        if len(units) == 1 and not any(unit in name for unit in units):
            name = f"{name} ({units.pop()})"
        taken[name.casefold()] += 1
        same = taken[name.casefold()]
        names.append(f"{name} #{same}" if same > 1 else name)
    return names


def _value(cell: Cell) -> object:
    if cell.value is None:
        return ""
    return cell.text if isinstance(cell.value, str) else cell.value
