"""The records as tidy CSV and JSON: one row for each sample, raw and unrounded.

`reports/README.md` says what each column means.
"""

from collections.abc import Iterable, Iterator

import msgspec

from llamatrix.engines.outcome import Done
from llamatrix.records.speed_record import Record
from llamatrix.report.speed import Group
from llamatrix.report.speed_tables import outcome_word
from llamatrix.report.tables import csv_text

HEADER = (
    *("host", "weights", "model", "pin", "commit", "build", "sweep", "test"),
    *("repeat", "outcome", "sample", "tokens_per_second", "nanoseconds"),
    *("measured_at", "digest", "steady", "disturbed", "unstable"),
)


def tidy_csv(groups: Iterable[Group]) -> str:
    """All samples of all groups; a test without a number has one row with its outcome."""
    return csv_text(HEADER, list(_all_rows(groups)))


def tidy_json(groups: Iterable[Group]) -> str:
    """The same rows as an array of objects, one a line; null where CSV is empty."""
    lines = (
        msgspec.json.encode(
            {
                key: None if value == "" else value
                for key, value in zip(HEADER, row, strict=True)
            }
        ).decode()
        for row in _all_rows(groups)
    )
    return "[\n" + ",\n".join(lines) + "\n]\n"


def _all_rows(groups: Iterable[Group]) -> Iterator[tuple[object, ...]]:
    for group in groups:
        for record in group.records:
            result = group.results[record.cell.model_name, record.test]
            yield from _rows(record, unstable=result.unstable)


def _rows(record: Record, *, unstable: bool) -> Iterator[tuple[object, ...]]:
    cell = record.cell
    head = (
        *(record.host.slug, record.weights.kind.value, cell.model_key, cell.pin),
        *(record.build.commit, cell.build, cell.sweep, record.test.name),
        *(record.repeat, outcome_word(record.outcome)),
    )
    where = (record.measured_at, cell.digest)
    marks = (record.disturbed, _yes(unstable))
    if not isinstance(record.outcome, Done):
        yield (*head, "", "", "", *where, "", *marks)
        return
    sample = record.outcome.result
    samples = zip(sample.tokens_per_second, sample.nanoseconds, strict=True)
    for number, (tokens_per_second, nanoseconds) in enumerate(samples, start=1):
        steady = number > sample.repetitions - len(sample.steady)
        values = (number, tokens_per_second, nanoseconds)
        yield (*head, *values, *where, _yes(steady), *marks)


def _yes(condition: bool) -> str:  # noqa: FBT001
    return "yes" if condition else "no"
