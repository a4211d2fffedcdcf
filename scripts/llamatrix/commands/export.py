"""`invoke export`: recorded speeds in the formats of other tools."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path

from llamatrix.commands.flags import ExportFlags
from llamatrix.commands.report_view import load_view
from llamatrix.config.expand import select_cells
from llamatrix.engines.outcome import Done
from llamatrix.engines.registry import sql_row, sql_script
from llamatrix.errors import MatrixError, ReportError
from llamatrix.progress import say
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.report.render.markdown import write_page
from llamatrix.report.speed import Group
from llamatrix.report.tidy import benchmark_action_json


class ExportFormat(StrEnum):
    LLAMA_BENCH_SQL = "llama-bench-sql"
    """SQL of `llama-bench -o sql`, for `scripts/compare-llama-bench.py` of llama.cpp."""
    GITHUB_ACTION_BENCHMARK = "github-action-benchmark"
    """JSON of the action's tool `customBiggerIsBetter`."""


def export(flags: ExportFlags) -> str:
    """Return the export, or write it to `--out` and return nothing."""
    try:
        chosen = ExportFormat(flags.format)
    except ValueError as error:
        raise MatrixError(
            f"--format {flags.format!r}: expected one of {', '.join(ExportFormat)}"
        ) from error
    text = _text(chosen, _groups(flags), flags.cells)
    if not flags.out:
        return text
    say(f"written: {write_page(Path(flags.out), text)}")
    return ""


def _text(chosen: ExportFormat, groups: Sequence[Group], cells: str) -> str:
    match chosen:
        case ExportFormat.LLAMA_BENCH_SQL:
            return sql_script(
                sql_row(
                    bytes(record.outcome.result.raw),
                    argv=record.process.argv,
                    model_type=f"{record.cell.model_name} {record.cell.quant}",
                )
                for record in _finished(groups, cells)
                if isinstance(record.outcome, Done) and record.engine == "llama.cpp"
            )
        case ExportFormat.GITHUB_ACTION_BENCHMARK:
            ids = {record.cell.id for record in _finished(groups, cells)}
            return benchmark_action_json(groups, cells=ids)


def _groups(flags: ExportFlags) -> Sequence[Group]:
    view = load_view(flags.records)
    if flags.profile:
        view = view.of_profile(flags.profile)
    if flags.host:
        view = view.of_host(flags.host)
    if not view.groups:
        raise ReportError(
            f"{view.project.records}: no speeds of this profile and host are recorded; "
            "`invoke bench` measures them, `invoke plan` shows the cells"
        )
    return view.groups


def _finished(groups: Sequence[Group], cells: str) -> Iterator[SpeedRecord]:
    """Yield the records that the tables' numbers are made of; MatrixError for none."""
    used = [
        record
        for group in groups
        for result in group.results.values()
        for record in result.used
        if isinstance(record.outcome, Done)
    ]
    yield from select_cells(used, cells, ids=lambda record: (record.cell.id,))
