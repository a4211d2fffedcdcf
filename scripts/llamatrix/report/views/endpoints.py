"""Endpoints: speed over HTTP, of servers whose engine and weights nobody has verified."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.outcome import Done
from llamatrix.records.endpoint_record import EndpointRecord
from llamatrix.report.formats import hundredths, share_text
from llamatrix.report.render.markdown import markdown, write_page
from llamatrix.report.speed import outcome_word
from llamatrix.report.table import Row, Table, count, number, numbers

UNVERIFIED = "*unverified*"
NOT_TOLD = "not told"
NOT_COMPARABLE = (
    "not comparable: its speed contains HTTP and the server's queue, and its engine, "
    "build, KV cache types, weights and chat template are not verified; nothing of it "
    "reproduces a number of llama-bench"
)
_NOTES = """\
- measured over HTTP by our clock, tokens as the server counts them; *prompt* is up to the
  first token, *generation* from the first token on; one warm-up request is left out
- the server runs by itself: nothing of it is verified, and background load cannot be told
  from its own work
"""
Key = tuple[str, str, str]


def newest_endpoints(
    records: Iterable[EndpointRecord],
) -> dict[Key, list[EndpointRecord]]:
    """By host, endpoint and sweep: the digest written last, and its last outcomes."""
    by_cell: dict[Key, list[EndpointRecord]] = defaultdict(list)
    for record in records:
        by_cell[record.host.slug, record.cell.endpoint, record.cell.sweep].append(
            record
        )
    found = {}
    for key, own in sorted(by_cell.items()):
        last = max(own, key=lambda record: record.measured_at)
        latest = {
            (record.repeat, record.test): record
            for record in own
            if record.cell.digest == last.cell.digest
        }
        found[key] = list(latest.values())
    return found


def endpoints_page(cells: dict[Key, list[EndpointRecord]]) -> str:
    parts = ["# Endpoints\n"]
    for slug in dict.fromkeys(slug for slug, _, _ in cells):
        own = [records for (host, _, _), records in cells.items() if host == slug]
        parts += [f"## Measured from {own[0][0].host.summary}\n", _NOTES]
        parts += [markdown(_servers(own)), markdown(_speeds(own))]
    return "\n".join(parts)


def write_endpoints_page(
    records: Iterable[EndpointRecord], reports: Path
) -> Path | None:
    cells = newest_endpoints(records)
    page = reports / "endpoints.md"
    return write_page(page, endpoints_page(cells)) if cells else None


def _servers(cells: Sequence[Sequence[EndpointRecord]]) -> Table:
    last = {records[-1].cell.endpoint: records[-1] for records in cells}
    return Table(
        "Endpoints",
        (
            *("Endpoint", "Model", "Server says", "Engine and build", "KV types"),
            *("Weights", "Template", "Runs on"),
        ),
        [
            (
                *(name, f"{record.cell.model} ({UNVERIFIED})", record.reported.words),
                *(UNVERIFIED, NOT_TOLD, UNVERIFIED, UNVERIFIED),
                "this host" if record.cell.loopback else NOT_TOLD,
            )
            for name, record in last.items()
        ],
    )


def _speeds(cells: Sequence[Sequence[EndpointRecord]]) -> Table:
    rows: list[Row] = []
    for records in cells:
        by_test: dict[SpeedTest, list[EndpointRecord]] = defaultdict(list)
        for record in records:
            by_test[record.test].append(record)
        rows += [_row(test, by_test[test]) for test in sorted(by_test, key=_order)]
    return Table(
        "Speed over HTTP",
        (
            *("Endpoint", "Test"),
            *numbers("Depth", "Clients", "tokens/s", "sd", "first token (s)", "n"),
        ),
        rows,
    )


def _row(test: SpeedTest, records: Sequence[EndpointRecord]) -> Row:
    done = {
        id(record): record.outcome.result
        for record in records
        if isinstance(record.outcome, Done)
    }
    steady = [speed for sample in done.values() for speed in sample.steady]
    first_s = [
        ns / 1e9
        for sample in done.values()
        for ns in sample.first_token_ns[sample.warmup_repetitions :]
    ]
    sources = tuple(one for one in records if id(one) in done) or tuple(records)
    mean = statistics.fmean(steady) if steady else None
    share = statistics.stdev(steady) / mean if mean and len(steady) > 1 else None
    first = statistics.median(first_s) if first_s else None
    failure = outcome_word(records[-1].outcome)
    what = "prompt" if test.n_prompt else "generation"
    return (
        f"{records[0].cell.endpoint} ({UNVERIFIED})",
        f"{what} of {test.n_prompt or test.n_gen}",
        *(count(test.n_depth), count(test.concurrency)),
        number(mean, hundredths, "tokens/s", records=sources, missing=failure),
        number(share, share_text, records=sources),
        number(first, "{:.3f}".format, "s", records=sources),
        count(len(steady)),
    )


def _order(test: SpeedTest) -> tuple[int, int, int, int]:
    return test.n_gen, test.n_prompt, test.n_depth, test.concurrency
