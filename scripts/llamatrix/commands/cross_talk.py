"""`invoke cross-talk`: whether a busy card changes what another of its host measures."""

import math
import statistics
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace

import msgspec

from llamatrix.commands.bench import bench_of
from llamatrix.commands.flags import CrossTalkFlags
from llamatrix.commands.pending import with_only_pin
from llamatrix.config.cell import Cell, SpeedTest
from llamatrix.config.context import load_context
from llamatrix.config.matrix import Backend
from llamatrix.engines.protocol import Bench
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.host import this_host
from llamatrix.measured_environment import process_conditions
from llamatrix.measuring import measuring
from llamatrix.nvml import card_indices, find_library
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.records.cross_talk_record import (
    CROSS_TALK,
    CrossTalkRecord,
    CrossTalkTest,
)
from llamatrix.records.store import Store, stamp
from llamatrix.stats.intervals import estimate
from llamatrix.stats.pairs import Arm, drawn_order

TOLERATED_LOSS = 0.02
"""The loss that matters elsewhere too: the default margin of `invoke regress`."""
_SEED = "cross-talk"
_PP, _TG = SpeedTest(n_prompt=2048, n_gen=0), SpeedTest(n_prompt=0, n_gen=128)
_BUSY_WITHIN_S = 600.0
_TIMEOUT_S = 1800.0


def cross_talk(flags: CrossTalkFlags) -> str:
    """Measure pairs of processes on one card, alone and beside the others; record them."""
    cards, _ = card_indices(find_library())
    if len(cards) < 2:  # noqa: PLR2004  a pair
        return "one card: nothing runs beside it\n" if cards else "no card\n"
    context = load_context(flags.profile, weights_dir=flags.weights_dir)
    context = with_only_pin(context, flags.pin)
    cell = _cell(context.plan(flags.cells).speed)
    project = context.project
    store = Store(reports=project.reports, kind=CROSS_TALK)
    store.require_room(this_host().slug)
    parts = ENGINE.install(
        cell, project.cache, weights_dir=context.weights_dir, program="llama-bench"
    )
    base = bench_of(cell, parts, project)
    alone: list[tuple[float, ...]] = []
    beside: list[tuple[float, ...]] = []
    measured, *busy = cards
    with measuring(purpose="measuring cross-talk"):
        _speeds(_on_card(base, measured), project)  # brings the card to its temperature
        for number in range(1, flags.pairs + 1):
            say(f"pair {number} of {flags.pairs}")
            for arm in drawn_order(_SEED, number):
                with ExitStack() as stack:
                    if arm is Arm.CANDIDATE:
                        _keep_busy(base, busy, stack)
                    speeds = _speeds(_on_card(base, measured), project)
                (beside if arm is Arm.CANDIDATE else alone).append(speeds)
    record = CrossTalkRecord(
        cell_id=cell.id,
        commit=cell.locked.commit,
        card=measured,
        busy=tuple(busy),
        tests=tuple(
            _compared(
                test, [one[place] for one in alone], [one[place] for one in beside]
            )
            for place, test in enumerate((_PP, _TG))
        ),
        **stamp(),
        same_environment=process_conditions(),
    )
    store.append(record)
    return _text(record)


def shares_cards(project: Project, slug: str) -> bool:
    """Whether cells may run side by side on the cards of a class of host."""
    store = Store(reports=project.reports, kind=CROSS_TALK)
    records = (record for record in store.read_all() if record.host.slug == slug)
    newest = max(records, key=lambda record: record.measured_at, default=None)
    return newest is not None and _harmless(newest)


def _harmless(record: CrossTalkRecord) -> bool:
    return all(test.low >= 1 - TOLERATED_LOSS for test in record.tests)


def _cell(cells: Sequence[Cell]) -> Cell:
    on_card = [cell for cell in cells if cell.build.backend is Backend.CUDA]
    if not on_card:
        raise MatrixError(
            "cross-talk: none of these cells runs on a card: choose a profile that has "
            "one, e.g. --profile synthetic"
        )
    return on_card[0]


def _on_card(bench: Bench, card: int) -> Bench:
    variables = {"CUDA_VISIBLE_DEVICES": str(card), "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    env = {**bench.sweep.env, **variables}
    return replace(bench, sweep=msgspec.structs.replace(bench.sweep, env=env))


def _keep_busy(bench: Bench, cards: Sequence[int], stack: ExitStack) -> None:
    for card in cards:
        is_busy = stack.enter_context(ENGINE.keep_busy(_on_card(bench, card)))
        until = time.monotonic() + _BUSY_WITHIN_S
        while not (busy := is_busy()):
            if busy is None or time.monotonic() > until:
                raise MeasureError(f"cross-talk: nothing computes on card {card}")
            time.sleep(0.2)


def _speeds(bench: Bench, project: Project) -> tuple[float, ...]:
    """One process: the steady mean of each test."""
    tests = (_PP, _TG)
    out = project.logs / "cross-talk.jsonl"
    run = ENGINE.run_bare(bench, tests, out=out, timeout_s=_TIMEOUT_S)
    if [sample.test for sample in run.samples] != list(tests):
        raise MeasureError(
            f"cross-talk: exit code {run.exit_code}; log: {out.with_suffix('.log')}"
        )
    return tuple(statistics.fmean(sample.steady) for sample in run.samples)


def _compared(
    test: SpeedTest, alone: Sequence[float], beside: Sequence[float]
) -> CrossTalkTest:
    ratios = estimate([math.log(b / a) for a, b in zip(alone, beside, strict=True)])
    interval = ratios.interval()
    return CrossTalkTest(
        test=test,
        alone_tps=tuple(alone),
        beside_tps=tuple(beside),
        ratio=ratios.ratio,
        low=interval.low if interval else ratios.ratio,
        high=interval.high if interval else ratios.ratio,
    )


def _text(record: CrossTalkRecord) -> str:
    busy = ", ".join(map(str, record.busy))
    lines = [
        f"{one.test.name}: {one.ratio:.4f} [{one.low:.4f}, {one.high:.4f}], "
        f"{len(one.alone_tps)} pairs"
        for one in record.tests
    ]
    verdict = (
        "cells may share this host, a card each"
        if _harmless(record)
        else f"cells take turns on this host: a loss of {100 * TOLERATED_LOSS:.0f} % is "
        "not excluded"
    )
    return (
        f"card {record.card} while {busy} compute, over alone ({record.cell_id}):\n  "
        + "\n  ".join(lines)
        + f"\n{verdict}\n"
    )
