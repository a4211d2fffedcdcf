"""One line of every kind and schema version, as `tests/captured/records` has them."""

from tests.shipped import CAPTURED

from llamatrix.records.context_record import CONTEXT
from llamatrix.records.hand_run import BY_HAND
from llamatrix.records.judge_record import JUDGE
from llamatrix.records.pair_records import REPLAY_PAIRS, SPEED_PAIRS
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import RecordKind, RecordLocation, Stored
from llamatrix.records.trial_record import AGENT

KINDS: dict[str, RecordKind[Stored]] = {
    "speed": SPEED,  # type: ignore[dict-item]
    "agent": AGENT,  # type: ignore[dict-item]
    "context": CONTEXT,  # type: ignore[dict-item]
    "opinion": JUDGE,  # type: ignore[dict-item]
    "speed-pairs": SPEED_PAIRS,  # type: ignore[dict-item]
    "replay-pairs": REPLAY_PAIRS,  # type: ignore[dict-item]
    "by-hand": BY_HAND,  # type: ignore[dict-item]
}
"""By the name of its captured file; `RecordKind` is invariant, the tests only read."""


def captured_line(name: str, schema: int) -> bytes:
    """The line without its newline."""
    path = CAPTURED / "records" / f"schema-{schema}" / f"{name}.jsonl"
    return path.read_bytes().removesuffix(b"\n")


def captured_record(name: str, schema: int = 1) -> Stored:
    place = RecordLocation(
        "intel-xeon-2-cores-470207", f"{KINDS[name].folder}/model/pin/build"
    )
    return KINDS[name].decode(captured_line(name, schema), where=name, place=place)
