"""`--cluster local`: a child for each card of this host, and one for the host."""

import json
import re
from collections import Counter

import pytest
from tests.cluster.conftest import CELLS, PROCESSES, TESTS, Box
from tests.invoking import invoked_apart

_ALL = CELLS * TESTS * PROCESSES
SMOKE = ("bench", "--profile", "smoke", "--cluster", "local")
CARDS = ("bench", "--profile", "cards", "--cluster", "local")


def keys(box: Box) -> Counter[tuple[object, ...]]:
    """How often each digest, repeat and test is recorded."""
    return Counter(
        (record["cell"]["digest"], record["repeat"], json.dumps(record["test"]))
        for record in box.records()
        if "test" in record
    )


def test_cells_are_measured_once_and_under_the_digests_of_a_run_without_cluster(
    box: Box,
) -> None:
    ended = invoked_apart(*SMOKE, env=box.environment)
    assert ended.returncode == 0, ended.stderr
    assert f"records: {_ALL} made, 0 reused" in ended.stderr
    assert len(keys(box)) == _ALL
    assert set(keys(box).values()) == {1}
    again = invoked_apart("bench", "--profile", "smoke", env=box.environment)
    assert f"nothing measured: all {_ALL} tests reused" in again.stderr
    assert not list((box.project.cache / "spool").rglob("*.jsonl")), "all was taken"


def test_failures_are_recorded_as_without_a_cluster(box: Box) -> None:
    failing = box.wishing(fail={"512": "memory"})
    ended = invoked_apart(*SMOKE, env=failing.environment)
    assert ended.returncode == 8, ended.stderr
    retried = invoked_apart(*SMOKE, "--retry", env=box.environment)
    assert retried.returncode == 0, retried.stderr
    assert f"records: {CELLS * PROCESSES} made" in retried.stderr


def variables(box: Box, name: str) -> list[object]:
    return [
        record["same_environment"]["variables"][name]  # type: ignore[index]
        for record in box.records()
        if "test" in record
    ]


@pytest.mark.slow
def test_cells_share_a_host_once_its_cards_are_shown_not_to_disturb_each_other(
    box: Box,
) -> None:
    cards = box.with_cards(2).wishing(backends="CUDA", delay_s=0.2, busy=True)
    some = (*CARDS, "--cells", "*qwen35-27b*")
    turns = invoked_apart(*some, env=cards.wishing(backends="CUDA").environment)
    assert turns.returncode == 0, turns.stderr
    assert "2 cards, one at a time: `invoke cross-talk` has not shown" in turns.stderr
    (card,) = set(visible := variables(box, "CUDA_VISIBLE_DEVICES"))
    assert card in {"0", "1"}, "the cell stays on the card whose turn it is"
    assert len(visible) == TESTS * PROCESSES
    assert set(variables(box, "CUDA_DEVICE_ORDER")) == {"PCI_BUS_ID"}
    talk = invoked_apart(
        *("cross-talk", "--profile", "cards", "--pairs", "2"), env=cards.environment
    )
    assert talk.returncode == 0, talk.stderr
    assert "card 0 while 1 compute, over alone" in talk.stdout
    assert "cells may share this host, a card each" in talk.stdout
    slow = cards.wishing(backends="CUDA", delay_s=0.5)
    shared = invoked_apart(*CARDS, env=slow.environment)
    assert shared.returncode == 0, shared.stderr
    assert "2 cards, side by side" in shared.stderr
    assert set(variables(box, "CUDA_VISIBLE_DEVICES")) == {"0", "1"}
    assert set(keys(box).values()) == {1}
    assert len(keys(box)) == _ALL


def test_plan_shows_what_is_due_where(box: Box) -> None:
    plan = invoked_apart(
        *("plan", "--profile", "cards", "--cluster", "local"),
        env=box.with_cards(2).environment,
    )
    assert plan.returncode == 0, plan.stderr
    assert "(local card 0, local card 1)" in plan.stdout
    assert f"Plan: {CELLS} cells" in plan.stdout
    nowhere = invoked_apart(
        *("plan", "--profile", "cards", "--cluster", "local"), env=box.environment
    )
    assert "No host can run: speed/qwen35-27b.tiny/fake/card" in nowhere.stdout


@pytest.mark.parametrize("spec", ["ssh:", "ssh:a,a", "box", "ssh:-oProxyCommand=x"])
def test_a_wrong_cluster_is_exit_code_2(spec: str, box: Box) -> None:
    ended = invoked_apart(
        "bench", "--profile", "smoke", "--cluster", spec, env=box.environment
    )
    assert ended.returncode == 2
    assert f"--cluster {spec!r}" in ended.stderr


def test_cross_talk_needs_two_cards(box: Box) -> None:
    for count, words in ((0, "no card"), (1, "one card")):
        env = box.with_cards(count).environment
        ended = invoked_apart("cross-talk", "--profile", "cards", env=env)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(words)


def test_cross_talk_takes_the_pin_that_it_is_given(box: Box) -> None:
    asked = ("cross-talk", "--profile", "cards", "--pin", "b1")
    cards = box.with_cards(2).wishing(backends="CUDA", busy=True)
    ended = invoked_apart(*asked, env=cards.environment)
    assert ended.returncode == 2, ended.stderr
    assert "--pin 'b1': not a pin" in ended.stderr


@pytest.mark.slow
def test_bench_self_compares_a_cell_through_the_cluster_with_the_same_here(
    box: Box,
) -> None:
    ended = invoked_apart(
        *("bench-self", "--cluster", "local", "--pairs", "2"),
        env=box.wishing(noise=True).environment,
    )
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"niceness: -?\d+ here, the same there", ended.stdout)
    assert re.search(r"environment: \d+ variables here, the same there", ended.stdout)
    assert (
        "fixed work, wall time by --cluster local over here, 2 pairs: " in ended.stdout
    )
    assert "tg64, speed by --cluster local over here, 2 pairs: " in ended.stdout
    assert box.records() == []
