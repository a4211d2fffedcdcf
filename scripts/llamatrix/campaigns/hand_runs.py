"""llama-bench by hand, beside our own runs: what a bare shell would have measured."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from llamatrix import shell
from llamatrix.campaigns.agenda import Item
from llamatrix.host import this_host
from llamatrix.measure import llama_bench
from llamatrix.measure.speed import Bench
from llamatrix.plan.cell import SpeedTest
from llamatrix.project import Project


class HandRun(msgspec.Struct, frozen=True, kw_only=True):
    """One process, started bare, its rows read after its end."""

    digest: str
    """That of the cell it stands beside."""
    repeat: int
    started_at: str
    argv: tuple[str, ...]
    exit_code: int
    wall_s: float
    rows: tuple[msgspec.Raw, ...]
    """llama-bench's own lines, to the letter."""

    @property
    def whole(self) -> bool:
        return self.exit_code == 0

    @property
    def parsed(self) -> tuple[llama_bench.Row, ...]:
        return tuple(llama_bench.parse_row(bytes(row)) for row in self.rows)


@dataclass(frozen=True, kw_only=True, slots=True)
class HandRuns:
    """The runs by hand of one cell on this host: a file of lines, append-only."""

    path: Path
    digest: str

    def read(self) -> tuple[HandRun, ...]:
        """Those under the cell's digest; a line cut short by a crash is passed over."""
        try:
            lines = self.path.read_bytes().split(b"\n")[:-1]
        except FileNotFoundError:
            return ()
        runs = (msgspec.json.decode(line, type=HandRun) for line in lines if line)
        return tuple(run for run in runs if run.digest == self.digest)

    def append(self, run: HandRun) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(run) + b"\n")


def hand_runs(item: Item, project: Project) -> HandRuns:
    folder = project.reports / "by-hand" / this_host().slug
    return HandRuns(path=folder / f"{item.cell.id}.jsonl", digest=item.digest)


def run_by_hand(
    bench: Bench, tests: Sequence[SpeedTest], *, digest: str, repeat: int
) -> HandRun:
    """Start the same command bare: output into files, nothing sampled meanwhile."""
    argv = llama_bench.argv(
        str(bench.program), bench.weights.name, bench.sweep, list(tests)
    )
    label = f"{bench.log.name}-by-hand-{uuid.uuid4().hex[:12]}"
    out = bench.log.with_name(f"{label}.jsonl")
    out.parent.mkdir(parents=True, exist_ok=True)
    started_at = datetime.now(UTC).isoformat(timespec="milliseconds")
    begin = time.monotonic()
    with (
        out.open("wb") as sink,
        out.with_suffix(".log").open("wb") as errors,
        shell.started(argv, cwd=bench.weights.parent, out=sink, err=errors) as process,
    ):
        exit_code = process.wait(timeout=bench.sweep.timeout_s * len(tests))
    lines = [line for line in out.read_bytes().splitlines() if line[:1] == b"{"]
    return HandRun(
        digest=digest,
        repeat=repeat,
        started_at=started_at,
        argv=(bench.program.name, *argv[1:]),
        exit_code=exit_code,
        wall_s=time.monotonic() - begin,
        rows=tuple(msgspec.Raw(line) for line in lines),
    )
