"""Server beside bench: the parts add up to the session, and the rest is shown."""

import pytest

from llamatrix.config.cell import SpeedTest
from llamatrix.measure.breakdown import SentCall, Way
from llamatrix.proxy.call import Call, CallKind, Timings
from llamatrix.report.views.breakdown import (
    BenchedTest,
    Breakdown,
    breakdown_text,
    work_of,
)


def _sent(wall_s: float, *, prompt_ms: float, predicted_ms: float) -> SentCall:
    timings = Timings(
        prompt_n=100,
        prompt_ms=prompt_ms,
        predicted_n=11,
        predicted_ms=predicted_ms,
    )
    return SentCall(index=1, wall_s=wall_s, timings=timings)


def _call(index: int, begun_s: float, ended_s: float) -> Call:
    return Call(
        index=index,
        kind=CallKind.MAIN,
        path="/v1/chat/completions",
        begun_s=begun_s,
        ended_s=ended_s,
        request_bytes=1,
        request_sha256="",
        answer_bytes=1,
        answer_sha256="",
    )


_PROMPT = SpeedTest(n_prompt=100, n_gen=0)
_ANSWER = SpeedTest(n_prompt=0, n_gen=10, n_depth=100)


def _found() -> Breakdown:
    barest = _sent(3.1, prompt_ms=1000, predicted_ms=2000)
    slower = _sent(9.9, prompt_ms=5000, predicted_ms=2500)
    walls = {Way.CHAT: 3.8, Way.WHOLE: 3.7, Way.TOKENS: 3.3}
    rounds: dict[Way, tuple[tuple[SentCall, ...], ...]] = {
        way: ((_sent(wall, prompt_ms=1100, predicted_ms=2100),), (slower,))
        for way, wall in walls.items()
    }
    kept_nothing = _sent(2.9, prompt_ms=900, predicted_ms=1900)
    return Breakdown(
        model="M",
        engine="e",
        host="h",
        recorded=(_call(1, 1.0, 2.0),),
        prompts=(100,),
        rounds=rounds
        | {Way.GREEDY: ((slower,), (barest,)), Way.UNCACHED: ((kept_nothing,),) * 2},
        bench=(
            BenchedTest(test=_PROMPT, seconds=(0.9, 0.8)),
            BenchedTest(test=_ANSWER, seconds=(1.8,)),
        ),
        foreign_percent=12.0,
    )


def test_work_of_a_call_is_its_new_prompt_and_the_answer_behind_it() -> None:
    sent = _sent(1.0, prompt_ms=1, predicted_ms=1)
    assert work_of(sent, 100) == (_PROMPT, _ANSWER)
    cached, _ = work_of(sent, 350)
    assert cached == SpeedTest(n_prompt=100, n_gen=0, n_depth=250)


def test_parts_are_differences_of_the_fastest_rounds_and_add_up() -> None:
    lines = breakdown_text(_found()).splitlines()
    seconds = {
        cells[1].strip(): float(cells[2])
        for line in lines
        if len(cells := line.split("|")) == 6 and "s" in cells[4] and "." in cells[2]
    }
    assert seconds == {
        "llama-bench": 2.6,
        "Cache": 0.2,
        "HTTP, JSON and queue": 0.1,
        "Sampling": 0.2,
        "Template, tokenising, parsing": 0.4,
        "Streaming": 0.1,
        "Unexplained": 0.2,
        "Session on the server": 3.8,
        "Idle": 0.0,
    }
    total = seconds.pop("Session on the server")
    assert sum(seconds.values()) == pytest.approx(total)
    assert "background load: 12 % of all cores" in "\n".join(lines)


def test_speeds_of_a_call_stand_beside_llama_bench() -> None:
    row = breakdown_text(_found()).splitlines()[-1]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[:4] == ["1 (main)", "0", "100", "11"]
    assert cells[4] == "125.00"
    assert cells[7] == "n/a"
    assert cells[8] == "5.56"
