"""Authored words over real work: OpenCode, the tap, the player and llama-server."""

from pathlib import Path

import pytest
from tests.measure.opencode.playing import INTEGRITY, WRITES_A_FILE, playing, stage_for
from tests.serve.real import real_launch

from llamatrix.measure.opencode.turn import Patience
from llamatrix.measure.scripted.player import Player
from llamatrix.measure.tap.totals import disagreements
from llamatrix.measure.trial_outcome import Answered
from llamatrix.serve.running import running

pytestmark = [pytest.mark.slow, pytest.mark.network]
CONTEXT_TOKENS = 65_536


@pytest.mark.parametrize("version", sorted(INTEGRITY))
def test_the_real_server_does_and_counts_the_work_of_authored_words(
    version: str, user_cache: Path, tmp_path: Path
) -> None:
    launch = real_launch(
        "current",
        "qwen35-27b",
        cache=user_cache,
        folder=tmp_path,
        ctx_size=CONTEXT_TOKENS,
    )
    stage = stage_for(version, tmp_path / "stage")
    stage.patience = Patience(total_s=500, silence_s=400)  # a made-up vocabulary
    with running(launch, log=tmp_path / "server.log") as serving:
        player = Player(transcript=WRITES_A_FILE, upstream=serving.url)
        before = serving.counters()
        with playing(player) as url:
            run = stage.ask("Write a file.", url)
        served = serving.counters().since(before)
    assert run.outcome == Answered()
    assert run.session.texts[-1] == "Done."
    assert run.totals.api_calls == 2
    assert run.totals.untimed_calls == len(player.refusals)
    assert served.prompt_tokens > 1000
    assert served.generated_tokens <= sum(
        step.length_tokens for step in WRITES_A_FILE.steps
    )
    if not player.refusals:  # random words may be what its parser refuses
        assert disagreements(run.calls, served) == ()
