"""Endpoints measured over HTTP: every test is on disk before the next."""

import os
from collections.abc import Sequence
from contextlib import ExitStack

from llamatrix.commands.pending import CellStatus, Due, endpoint_status, newest_reported
from llamatrix.config.context import Context
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.engines.endpoint.client import Client, Reported, open_client
from llamatrix.engines.endpoint.speed import EndpointBench
from llamatrix.engines.outcome import Done, SpeedResult, reason_of
from llamatrix.host import this_host
from llamatrix.measuring import measuring
from llamatrix.progress import meter, say
from llamatrix.records.endpoint_record import (
    ENDPOINT,
    ENGINE,
    EndpointRecord,
    endpoint_facts,
)
from llamatrix.records.store import Store, stamp
from llamatrix.report.speed import outcome_word


def measure_endpoints(
    statuses: Sequence[CellStatus[EndpointCell]],
    context: Context,
    *,
    again: int = 0,
    retry: bool = False,
) -> tuple[int, int, int]:
    """Measure what the endpoints' cells lack.

    Returns how many tests were reused, measured, and left without a number.
    """
    store = Store(reports=context.project.reports, kind=ENDPOINT)
    if statuses:
        store.require_room(this_host().slug)
    reused = measured = without_number = 0
    for planned in statuses:
        cell = planned.cell
        with ExitStack() as held:
            held.enter_context(measuring())
            client = held.enter_context(open_client(cell.endpoint, os.environ))
            reported = _identify(client, cell) or newest_reported(cell, store)
            status = endpoint_status(
                cell, store, reported=reported, again=again, retry=retry
            )
            reused += status.reused
            without_number += status.reused_without_number
            for due in status.due:
                results = _measure(client, status, due, reported, store)
                measured += len(results)
                without_number += sum(
                    not isinstance(one.outcome, Done) for one in results
                )
    return reused, measured, without_number


def _identify(client: Client, cell: EndpointCell) -> Reported | None:
    """What the server reports; None where it does not answer, as each test then says."""
    if not cell.endpoint.loopback:
        say(f"{cell.id}: not on this machine; prompts of common words are sent there")
    reported = client.introduce(timeout_s=cell.sweep.timeout_s)
    return reported if isinstance(reported, Reported) else None


def _measure(
    client: Client,
    status: CellStatus[EndpointCell],
    due: Due,
    reported: Reported,
    store: Store[EndpointRecord],
) -> list[SpeedResult]:
    cell, label = status.cell, f"{status.cell.id} #{due.number}"
    results: list[SpeedResult] = []
    say(f"measuring {label}: {', '.join(test.name for test in due.tests)}")
    with meter(label, total=len(due.tests)) as progress:

        def keep(result: SpeedResult) -> None:
            if not isinstance(result.outcome, Done):
                what = f"{outcome_word(result.outcome)}: {reason_of(result.outcome)}"
                say(f"{label} {result.test.name}: {what}")
            store.append(
                EndpointRecord(
                    cell=endpoint_facts(cell, digest=status.digest),
                    reported=reported,
                    test=result.test,
                    repeat=due.number,
                    outcome=result.outcome,
                    process=result.process,
                    engine=ENGINE,
                    **stamp(),
                )
            )
            results.append(result)
            progress.advance()

        EndpointBench(
            client=client,
            repetitions=cell.sweep.repetitions,
            timeout_s=cell.sweep.timeout_s,
            on_progress=lambda step: progress.reach(progress.done, note=step),
        ).run(due.tests, keep)
    return results
