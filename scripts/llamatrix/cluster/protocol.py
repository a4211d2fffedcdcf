"""What driver and child say to each other: one JSON object a line.

The driver sends `Survey`, `Provide` and `Order`, one at a time; the child answers with
lines that end in `Surveyed` or `Finished`. `Taken` tells the child which records are on the
driver's disk. A child ends when its input does.
"""

import hashlib
import platform
from functools import cache
from pathlib import Path

import msgspec

import llamatrix
from llamatrix.commands.flags import ContextFlags
from llamatrix.commands.pending import Due
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.cell import Cell, EngineCell
from llamatrix.host import Host
from llamatrix.measured_environment import ProcessConditions
from llamatrix.project import Project

PIECE_BYTES = 48 << 10
"""Of a file in one line: small enough for any transport to carry whole."""


class Survey(msgspec.Struct, tag="survey", frozen=True, kw_only=True):
    """Asks what the host is."""

    collect: bool
    """Whether to hand in first what a lost driver did not get."""
    engines: tuple[Cell, ...] = ()
    """One cell of each pin and build of the plan."""
    agents: tuple[AgentCell, ...] = ()


class Provide(msgspec.Struct, tag="provide", frozen=True, kw_only=True):
    """Asks for the builds of these cells before anything is measured on the host."""

    engines: tuple[Cell, ...] = ()
    agents: tuple[AgentCell, ...] = ()


class Order(msgspec.Struct, tag="order", frozen=True, kw_only=True, omit_defaults=True):
    """One cell and what is due of it; one of `speed`, `agent` and `context` is set."""

    digest: str
    due: tuple[Due, ...] = ()
    written_at: frozenset[str] = frozenset()
    """When the records were written that the driver has."""
    profile: str
    weights_dir: str = ""
    any_template: bool = False
    speed: Cell | None = None
    agent: AgentCell | None = None
    context: ContextFlags | None = None


class Taken(msgspec.Struct, tag="taken", frozen=True, kw_only=True):
    """These lines, by their sha256, are on the driver's disk: the end of an answer."""

    lines: tuple[str, ...]
    clock_ahead_s: float | None = None
    """After a survey: how far the host's clock is ahead of the driver's; 0 for right."""


class FixedWork(msgspec.Struct, tag="fixed-work", frozen=True):
    """Asks for a run of `fixed_work.py`."""


class Stop(msgspec.Struct, tag="stop", frozen=True):
    """Nothing more is to do."""


ToChild = Survey | Provide | Order | Taken | FixedWork | Stop


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What must be equal on all hosts, or their numbers are of different things."""

    python: str
    checkout: str
    """Of all sources of the package."""
    matrix: str
    lock: str
    templates: str


class Surveyed(msgspec.Struct, tag="surveyed", frozen=True, kw_only=True):
    versions: Versions
    host: Host
    cards: tuple[tuple[int, str], ...]
    """Index and host class of each card, as it is seen alone."""
    compilers: dict[str, str]
    """By `PIN/BUILD`."""
    refusals: dict[str, str]
    """Why a `PIN/BUILD` cannot run there."""
    free_bytes: int
    """Of the disk with the cache."""
    time_s: float
    """The host's clock."""
    conditions: ProcessConditions


class Said(msgspec.Struct, tag="said", frozen=True):
    text: str


class Alive(msgspec.Struct, tag="alive", frozen=True):
    """Sent every few seconds, whatever the child does."""


class FilePiece(msgspec.Struct, tag="file", frozen=True, kw_only=True):
    """A part of a trajectory's file; its record follows when all are sent."""

    path: str
    """Relative to the records' folder."""
    data: bytes
    first: bool


class RecordLine(msgspec.Struct, tag="record", frozen=True, kw_only=True):
    file: str
    """Relative to the records' folder."""
    line: bytes
    """As in the spool, newline included."""


class Finished(msgspec.Struct, tag="finished", frozen=True, kw_only=True):
    """The order is done; everything else of it came before."""

    problem: str = ""
    """What stopped it; empty where nothing did."""


class Worked(msgspec.Struct, tag="worked", frozen=True, kw_only=True):
    """What `fixed_work.py` printed."""

    wall_s: float
    cpu_s: float
    digest: str
    """Of the result: the same everywhere."""
    inherited: dict[str, str]
    environment: dict[str, str]


FromChild = Surveyed | Said | Alive | FilePiece | RecordLine | Finished | Worked


def encode(message: ToChild | FromChild) -> bytes:
    return msgspec.json.encode(message) + b"\n"


_TO_CHILD = msgspec.json.Decoder(ToChild)
_FROM_CHILD = msgspec.json.Decoder(FromChild)
"""Made before there are threads, for the reason in `records/store.py`."""


def decode_to_child(line: bytes) -> ToChild:
    message: ToChild = _TO_CHILD.decode(line)
    return message


def decode_from_child(line: bytes) -> FromChild:
    message: FromChild = _FROM_CHILD.decode(line)
    return message


def key_of(cell: EngineCell) -> str:
    """Name what a compiler makes for the cell: `PIN/BUILD`."""
    return f"{cell.pin_key}/{cell.build_key}"


def line_sha256(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


class _Served(msgspec.Struct):
    trajectory: str = ""


class _Trial(msgspec.Struct):
    served: _Served | None = None


_TRIAL = msgspec.json.Decoder(_Trial)


def trajectory_of(line: RecordLine) -> str:
    """Return the folder of the record's trajectory below the records; empty for none."""
    try:
        trial = _TRIAL.decode(line.line)
    except msgspec.MsgspecError:  # a torn or foreign line: the driver refuses it
        return ""
    if trial.served is None or not trial.served.trajectory:
        return ""
    return f"{line.file.partition('/')[0]}/{trial.served.trajectory}"


def versions_of(project: Project) -> Versions:
    """Return the versions of this checkout."""
    return Versions(
        python=platform.python_version(),
        checkout=_package_digest(),
        matrix=_digest(project.root, project.matrix_file.name),
        lock=_digest(project.root, project.lock_file.name),
        templates=_digest(project.root / "templates", "*"),
    )


def differences(here: Versions, there: Versions) -> tuple[str, ...]:
    """Say what differs on another host; empty where nothing does."""
    names = {"matrix": "matrix.toml", "lock": "matrix.lock"}
    return tuple(
        f"{names.get(field, field)} {theirs[:12]}, here {ours[:12]}"
        for field in Versions.__struct_fields__
        if (ours := getattr(here, field)) != (theirs := getattr(there, field))
    )


@cache
def _package_digest() -> str:
    return _digest(Path(llamatrix.__file__).parent, "**/*")


def _digest(folder: Path, glob: str) -> str:
    """Return a digest of names and contents; `missing` where there is no file."""
    digest = hashlib.sha256()
    paths = sorted(folder.glob(glob))
    for path in paths:
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(
                f"{path.relative_to(folder)}\0{path.stat().st_size}\0".encode()
            )
            digest.update(path.read_bytes())
    return digest.hexdigest() if paths else "missing"
