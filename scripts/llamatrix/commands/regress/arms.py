"""The two arms of a comparison, out of the matrix: which cells face each other."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import msgspec

from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.complaint import nearest
from llamatrix.config.expand import expand, matches_any, select_cells, select_profile
from llamatrix.config.lock import Lock
from llamatrix.config.matrix import Matrix
from llamatrix.errors import MatrixError
from llamatrix.host import this_host
from llamatrix.provision.compiler import compiler_id
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

PAIRING_VERSION = 2
"""Bumped by hand when pairs are run in another way: old pairs then do not count."""
METRICS = (Metric.PROMPT, Metric.GENERATION)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One arm as the user named it; an empty key is the profile's own."""

    pin: str
    build: str = ""
    sweep: str = ""
    server: str = ""
    """Only of replays: llama-bench has flags of its own …"""
    template: str = ""
    """… and no chat template."""


class Compared(Protocol):
    """A case before it is known whether it can run."""

    @property
    def id(self) -> str: ...
    @property
    def cells(self) -> dict[Arm, Cell]: ...
    @property
    def identical(self) -> bool: ...


C = TypeVar("C", bound=Compared)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One test of one cell in both arms: what gets a verdict of its own."""

    id: str
    """As a cell id, with `baseline..candidate` where the two differ, then the test."""
    metric: Metric
    cells: dict[Arm, Cell]
    test: SpeedTest | None
    """None where the arms' sweeps have no such test in common."""
    lacking: str = ""
    """Why there is no test."""

    @property
    def digest(self) -> str:
        """Over all that identifies both arms here: pairs of another one never mix."""
        parts = [str(PAIRING_VERSION), self.test.name if self.test else ""]
        for arm in Arm:
            cell = self.cells[arm]
            compiler = compiler_id(cell.build.backend)
            parts.append(cell.digest(host_slug=this_host().slug, compiler=compiler))
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @property
    def identical(self) -> bool:
        """Both arms are the same: an A/A comparison."""
        baseline, candidate = (self.cells[arm].spec_digest for arm in Arm)
        return baseline == candidate


def cases_of(
    matrix: Matrix,
    lock: Lock,
    profile: str,
    asked: dict[Arm, Asked],
    *,
    metrics: Sequence[Metric] = METRICS,
    cells: str = "",
) -> tuple[Case, ...]:
    """Every case of a profile's models, in its order; MatrixError where none is left."""
    every = [
        case
        for baseline, candidate in facing_cells(matrix, lock, profile, asked)
        for case in _cases(baseline, candidate, metrics)
    ]
    if not any(case.test for case in every):
        named = ", ".join(metrics)
        reason = next((f": {case.lacking}" for case in every), "")
        raise MatrixError(
            f"profile {profile!r}: nothing to compare for {named}{reason}"
        )
    return matching(every, cells)


def facing_cells(
    matrix: Matrix, lock: Lock, profile: str, asked: dict[Arm, Asked]
) -> list[tuple[Cell, Cell]]:
    """Baseline and candidate of each of the profile's models."""
    for arm in Arm:
        _refuse_unknown(matrix, arm, asked[arm])
    arms = {arm: _cells(matrix, lock, profile, asked[arm]) for arm in Arm}
    excluded = select_profile(matrix, profile).exclude
    return [
        (baseline, candidate)
        for baseline, candidate in zip(
            arms[Arm.BASELINE], arms[Arm.CANDIDATE], strict=True
        )
        if not matches_any((baseline.id, candidate.id), excluded)
    ]


def matching(every: Sequence[C], cells: str) -> tuple[C, ...]:
    """The cases that a glob finds by their own id or a cell's; all without one."""
    if not every:
        raise MatrixError("the profile has nothing to compare so: --profile names one")
    return select_cells(
        every,
        cells,
        ids=lambda case: (case.id, *(cell.id for cell in case.cells.values())),
    )


def parse_metrics(text: str, known_metrics: Sequence[Metric]) -> tuple[Metric, ...]:
    """Read `tg,pp`; all that are known for an empty text."""
    known = {str(metric): metric for metric in known_metrics}
    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in known:
            raise MatrixError(f"--metric {word!r}: not known{nearest(word, known)}")
    return tuple(known[word] for word in dict.fromkeys(words or known))


def _refuse_unknown(matrix: Matrix, arm: Arm, asked: Asked) -> None:
    for flag, name, known in (
        (f"--{arm}", asked.pin, matrix.pins),
        (f"--{arm}-build", asked.build, matrix.builds),
        (f"--{arm}-sweep", asked.sweep, matrix.sweeps),
        (f"--{arm}-server", asked.server, matrix.servers),
    ):
        if name in known or (not name and flag != f"--{arm}"):
            continue
        raise MatrixError(
            f"{flag} {name!r}: not in matrix.toml{nearest(name, known)}{_kinds(name)}"
        )


def _kinds(name: str) -> str:
    """What to say to somebody who names a thing of another kind."""
    if ":" in name or name.startswith(("opencode", "v")) or name.endswith(".jinja"):
        return (
            ". Beside a pin there can be compared a build (--candidate-build), a sweep "
            "(--candidate-sweep); with --replay or --agent a server "
            "(--candidate-server) or a chat template (--candidate-template); with "
            "--agent OpenCode (--candidate-opencode) and Context7 (--candidate-context7)"
        )
    return ""


def _cells(matrix: Matrix, lock: Lock, profile: str, asked: Asked) -> tuple[Cell, ...]:
    chosen = select_profile(matrix, profile)
    arm = msgspec.structs.replace(
        chosen,
        pins=(asked.pin,),
        builds=(asked.build,) if asked.build else chosen.builds,
        sweep=asked.sweep or chosen.sweep,
        include=("*",),
        exclude=(),
    )
    profiles = {**matrix.profiles, profile: arm}
    return expand(msgspec.structs.replace(matrix, profiles=profiles), lock, profile)


def _cases(
    baseline: Cell, candidate: Cell, metrics: Iterable[Metric]
) -> Iterator[Case]:
    for metric in metrics:
        sizes = [_sizes(cell, metric) for cell in (baseline, candidate)]
        if not any(sizes):
            continue
        size = _choose(set(sizes[0]) & set(sizes[1]), metric, baseline)
        test = size and SpeedTest(
            n_prompt=size if metric is Metric.PROMPT else 0,
            n_gen=size if metric is Metric.GENERATION else 0,
        )
        yield Case(
            id=f"{_id(baseline, candidate)}/{test.name if test else metric}",
            metric=metric,
            cells={
                Arm.BASELINE: _narrowed(baseline, test or None),
                Arm.CANDIDATE: _narrowed(candidate, test or None),
            },
            test=test or None,
            lacking="" if test else _lack(baseline, candidate, metric, sizes),
        )


def _sizes(cell: Cell, metric: Metric) -> tuple[int, ...]:
    return cell.sweep.n_prompt if metric is Metric.PROMPT else cell.sweep.n_gen


def _choose(sizes: set[int], metric: Metric, cell: Cell) -> int:
    """One size: a prompt that fills a micro batch where there is one; 0 for none."""
    if metric is Metric.PROMPT:
        full = [size for size in sizes if size >= cell.sweep.ubatch_size]
        return min(full) if full else max(sizes, default=0)
    return min(sizes, default=0)


def _narrowed(cell: Cell, test: SpeedTest | None) -> Cell:
    """The cell with this one test: its other sizes cannot change the number."""
    if test is None:
        return cell
    sweep = msgspec.structs.replace(
        cell.sweep,
        n_prompt=(test.n_prompt,) if test.n_prompt else (),
        n_gen=(test.n_gen,) if test.n_gen else (),
        repetitions=1,
        warmup_repetitions=0,
    )
    return msgspec.structs.replace(cell, sweep=sweep)


def both(a: str, b: str) -> str:
    return a if a == b else f"{a}..{b}"


def _id(baseline: Cell, candidate: Cell) -> str:
    parts = [baseline.measurement, baseline.weights_key]
    parts.append(both(baseline.pin_key, candidate.pin_key))
    parts.append(both(baseline.build_key, candidate.build_key))
    if baseline.sweep_key != candidate.sweep_key:
        parts.append(both(baseline.sweep_key, candidate.sweep_key))
    return "/".join(parts)


def _lack(
    baseline: Cell, candidate: Cell, metric: Metric, sizes: list[tuple[int, ...]]
) -> str:
    for cell, found in zip((baseline, candidate), sizes, strict=True):
        if not found:
            return f"sweep {cell.sweep_key!r} of one arm has no {metric} test"
    return (
        f"the sweeps {baseline.sweep_key!r} and {candidate.sweep_key!r} have no {metric} "
        "size in common"
    )
