"""Where the time goes between llama-bench and an agent's session: two tables."""

from collections.abc import Callable, Sequence
from statistics import median

from msgspec import Struct

from llamatrix.config.cell import SpeedTest
from llamatrix.measure.breakdown import SentCall, Way
from llamatrix.proxy.call import Call, Timings
from llamatrix.report.formats import share_text, speed_text
from llamatrix.report.render.markdown import markdown
from llamatrix.report.table import Cell, Row, Table, count, number, numbers


class BenchedTest(Struct, frozen=True, kw_only=True):
    """What llama-bench took for a test."""

    test: SpeedTest
    seconds: tuple[float, ...]
    """One for each round."""


class Breakdown(Struct, frozen=True, kw_only=True):
    """A session replayed in every way, and the same work of llama-bench: all raw."""

    model: str
    engine: str
    host: str
    recorded: tuple[Call, ...]
    """The replayed calls as the agent made them, in the order of the replay."""
    prompts: tuple[int, ...]
    """Tokens of each call's prompt by this model's template and vocabulary."""
    rounds: dict[Way, tuple[tuple[SentCall, ...], ...]]
    bench: tuple[BenchedTest, ...]
    foreign_percent: float | None
    """Load of other programs meanwhile, of all cores."""

    def seconds(self, way: Way, of: Callable[[SentCall], float]) -> float:
        """The sum over the calls, of each the least of the rounds: all else adds to it."""
        return sum(
            min(map(of, rounds)) for rounds in zip(*self.rounds[way], strict=True)
        )

    def bench_s(self, way: Way) -> float:
        """What llama-bench takes for the tokens that a way's calls processed."""
        seconds = {one.test: min(one.seconds) for one in self.bench}
        calls = zip(self.rounds[way][0], self.prompts, strict=True)
        return sum(
            seconds[test] for sent, tokens in calls for test in work_of(sent, tokens)
        )


def work_of(sent: SentCall, prompt_tokens: int) -> tuple[SpeedTest, ...]:
    """The work of a call as llama-bench does it: the new prompt, then the answer.

    The first token of an answer comes with the prompt.
    """
    fresh, generated = sent.timings.prompt_n, sent.timings.predicted_n - 1
    prompt = SpeedTest(n_prompt=fresh, n_gen=0, n_depth=prompt_tokens - fresh)
    answer = SpeedTest(n_prompt=0, n_gen=generated, n_depth=prompt_tokens)
    return (prompt, answer) if generated else (prompt,)


def breakdown_text(found: Breakdown) -> str:
    rounds = len(found.rounds[Way.CHAT])
    facts = (
        *(f"# Server beside bench: {found.model}", ""),
        *(f"- engine: {found.engine}", f"- host: {found.host}"),
        f"- {len(found.prompts)} calls in {rounds} rounds; seconds are the least of each",
        *(f"- background load: {found.foreign_percent or 0.0:.0f} % of all cores", ""),
    )
    return "\n".join((*facts, markdown(_parts(found)), markdown(_calls(found))))


def _server_s(call: SentCall) -> float:
    return (call.timings.prompt_ms + call.timings.predicted_ms) / 1000


def _parts(found: Breakdown) -> Table:
    wall = {way: found.seconds(way, lambda call: call.wall_s) for way in Way}
    bench_s = found.bench_s(Way.GREEDY)
    bare_s = found.seconds(Way.GREEDY, _server_s)
    unexplained_s = found.seconds(Way.UNCACHED, _server_s)
    unexplained_s -= found.bench_s(Way.UNCACHED)
    session_s = wall[Way.CHAT]

    parts: tuple[tuple[str, float, str], ...] = (
        ("llama-bench", bench_s, "the same tokens at the same depths"),
        (
            *("Cache", bare_s - bench_s - unexplained_s),
            "a server that keeps no prompts and no checkpoints",
        ),
        (
            *("HTTP, JSON and queue", wall[Way.GREEDY] - bare_s),
            "our clock less the server's",
        ),
        (
            *("Sampling", wall[Way.TOKENS] - wall[Way.GREEDY]),
            "the likeliest token in place of the samplers",
        ),
        (
            *("Template, tokenising, parsing", wall[Way.WHOLE] - wall[Way.TOKENS]),
            "prompts sent as tokens",
        ),
        ("Streaming", wall[Way.CHAT] - wall[Way.WHOLE], "answers in one piece"),
        ("Unexplained", unexplained_s, "what is left without a cache"),
        ("Session on the server", session_s, "the sum: as the agent sent it"),
        ("Idle", _idle_s(found.recorded), "pauses of the recording"),
    )
    return Table(
        "Where the time goes",
        ("Part", *numbers("Seconds", "of the session"), "Measured by"),
        [
            (
                name,
                number(seconds, "{:,.4f}".format, "s"),
                number(seconds / session_s, share_text),
                how,
            )
            for name, seconds, how in parts
        ],
    )


def _idle_s(calls: Sequence[Call]) -> float:
    """Time between the calls in which none was open."""
    idle_s, open_until = 0.0, None
    for call in sorted(calls, key=lambda call: call.begun_s):
        if open_until is not None:
            idle_s += max(0.0, call.begun_s - open_until)
        open_until = max(open_until or 0.0, call.ended_s)
    return idle_s


def _calls(found: Breakdown) -> Table:
    """By call, tokens per second of llama-bench, of the server and of the agent."""
    bench = {
        one.test: (one.test.n_prompt or one.test.n_gen) / min(one.seconds)
        for one in found.bench
    }
    rows: list[Row] = []
    for place, (call, tokens) in enumerate(
        zip(found.recorded, found.prompts, strict=True)
    ):
        sent = {way: [one[place] for one in found.rounds[way]] for way in Way}
        first = sent[Way.GREEDY][0]
        prompt, *answer = work_of(first, tokens)
        then = [call.timings] if call.timings else []
        served = [[one.timings for one in sent[way]] for way in (Way.GREEDY, Way.CHAT)]
        sizes = (prompt.n_depth, prompt.n_prompt, first.timings.predicted_n)
        rows.append(
            (
                f"{call.index} ({call.kind})",
                *map(count, sizes),
                _speed([bench[prompt]]),
                *(_speed(list(map(_prompt_tps, some))) for some in (*served, then)),
                _speed([bench[test] for test in answer]),
                *(_speed(list(map(_answer_tps, some))) for some in (*served, then)),
            )
        )
    return Table(
        "The same calls, tokens/s",
        (
            "Call",
            *numbers("Depth", "Prompt", "Answer"),
            *numbers("Prefill: bench", "server", "as sent", "recorded"),
            *numbers("Generation: bench", "server", "as sent", "recorded"),
        ),
        rows,
    )


def _speed(values: Sequence[float]) -> Cell:
    known = [value for value in values if value]
    return number(median(known) if known else None, speed_text, "tokens/s")


def _prompt_tps(timings: Timings) -> float:
    return 1000 * timings.prompt_n / timings.prompt_ms if timings.prompt_ms else 0.0


def _answer_tps(timings: Timings) -> float:
    """After the first token, which comes with the prompt."""
    generated = timings.predicted_n - 1
    return 1000 * generated / timings.predicted_ms if timings.predicted_ms else 0.0
