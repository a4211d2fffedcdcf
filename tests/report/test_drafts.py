"""`serve-speed.md`: ratios and step costs follow from speeds and counters."""

import msgspec
from tests.records.made import made_record

from llamatrix.config.cell import SpeedTest
from llamatrix.config.matrix import Draft, DraftType
from llamatrix.engines.outcome import Done, Drafting, NotDrafting, Outcome, Streams
from llamatrix.records.speed_record import SpeedRecord
from llamatrix.report.views.drafts import draft_page

_ANSWER = SpeedTest(n_prompt=0, n_gen=64, n_depth=256)


def _record(
    name: str, tps: float, *, repeat: int, outcome: Outcome | None = None
) -> SpeedRecord:
    record = made_record(test=_ANSWER, repeat=repeat, samples_ts=(tps, tps, tps))
    draft = None if name == "none" else Draft(type=DraftType.MTP, n_max=2)
    assert isinstance(record.outcome, Done)
    sample = msgspec.structs.replace(
        record.outcome.result,
        drafting=Drafting(
            draft=draft,
            tokens=128,
            decode_calls=64,
            drafts=50 if draft else 0,
            drafted=100 if draft else 0,
            accepted=50 if draft else 0,
            accepted_by_position=(40, 10) if draft else (),
            own_bytes=2**20,
        ),
    )
    return msgspec.structs.replace(
        record,
        cell=msgspec.structs.replace(record.cell, draft=name, id=f"x/{name}"),
        outcome=outcome or Done(result=sample),
    )


def _row(page: str, draft: str) -> list[str]:
    line = next(line for line in page.splitlines() if f"| {draft} " in line)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_step_cost_is_mean_length_over_the_ratio_of_speeds() -> None:
    records = [
        _record(name, tps + repeat / 100, repeat=repeat)
        for name, tps in (("none", 50.0), ("mtp-2", 62.5))
        for repeat in (1, 2, 3)
    ]
    row = _row(draft_page(records), "mtp-2")
    assert row[3:5] == ["2.00", "80 % 20 %"]
    assert row[6].startswith("1.25 (1.2")
    assert row[7].startswith("1.60 (1.6")
    assert row[8] == "pays"


def test_one_process_each_decides_nothing() -> None:
    records = [_record("none", 50.0, repeat=1), _record("mtp-2", 62.5, repeat=1)]
    assert _row(draft_page(records), "mtp-2")[8] == "undecided"


def test_server_that_does_not_draft_shows_its_outcome() -> None:
    silent = NotDrafting(reason="the server runs without", tail=())
    records = [
        _record("none", 50.0, repeat=1),
        _record("mtp-2", 62.5, repeat=1, outcome=silent),
    ]
    row = _row(draft_page(records), "mtp-2")
    assert "not drafting" in row[5]
    assert row[7] == "n/a"


def test_no_records_make_no_page() -> None:
    assert draft_page([]) == ""


def test_clients_are_shown_together_each_and_by_their_waits() -> None:
    records = []
    for clients, tps in ((1, 50.0), (4, 120.0)):
        record = _record("none", tps, repeat=1)
        assert isinstance(record.outcome, Done)
        sample = msgspec.structs.replace(
            record.outcome.result,
            streams=Streams(
                first_token_ns=(10**9, 2 * 10**9, 3 * 10**9, 9 * 10**9),
                tokens_per_second=(30.0, 31.0, 32.0, 33.0),
            ),
        )
        test = msgspec.structs.replace(_ANSWER, concurrency=clients)
        done = Done(result=sample)
        records.append(msgspec.structs.replace(record, test=test, outcome=done))
    page = draft_page(records)
    table = page.partition("Clients at the same time")[2]
    line = next(line for line in table.splitlines() if " x4 " in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[3:9] == ["4", "120.00", "2.40", "31.50", "2.00", "9.00"]


def test_sequences_in_one_batch_stand_beside_the_clients() -> None:
    records = []
    for name, by_number in (
        ("none", {1: 40.0, 4: 90.0}),
        ("batched", {1: 50.0, 4: 120.0}),
    ):
        for number, tps in by_number.items():
            record = _record(name, tps, repeat=1)
            test = msgspec.structs.replace(_ANSWER, concurrency=number)
            records.append(msgspec.structs.replace(record, test=test))
    page = draft_page(records)
    assert "llama-batched-bench, the engine without a server" in page
    clients, _, table = page.partition("Sequences in one batch")
    assert "| batched " not in clients
    line = next(line for line in table.splitlines() if " x4 " in line)
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2:6] == ["4", "120.00", "2.40", "30.00"]
    assert cells[8] == "0.75"
