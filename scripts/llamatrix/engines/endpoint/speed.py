"""The speed of an endpoint over HTTP, by our clock and the server's own counts.

Prompt speed is the processed tokens over the time to the first token, generation speed
the tokens after the first over the time from the first to the last. Both contain what
HTTP and the server's queue cost. With several clients tokens are summed, from the first
client's beginning to the last one's end.

Prompts are shuffled lists of the same common words: the order is fresh for each request,
so that no cache holds more than the template's beginning, and the count stays.
"""

import secrets
import statistics
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from random import Random

import msgspec

from llamatrix.config.cell import SpeedTest
from llamatrix.engines.endpoint.client import Answer, Client, Failed
from llamatrix.engines.outcome import (
    Done,
    EndpointFailed,
    EndpointFailure,
    Invalid,
    Process,
    SpeedResult,
    SpeedSample,
)

_WORDS = [
    "time",
    "year",
    "people",
    "way",
    "day",
    "man",
    "thing",
    "woman",
    "life",
    "child",
    "world",
    "school",
    "state",
    "family",
    "group",
    "country",
    "hand",
    "part",
    "place",
    "case",
    "week",
    "company",
    "system",
    "program",
    "question",
    "work",
    "number",
    "night",
    "point",
    "home",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "fact",
    "month",
    "lot",
    "right",
    "study",
    "book",
    "eye",
    "job",
    "word",
    "business",
    "issue",
    "side",
    "kind",
    "head",
    "house",
    "service",
    "friend",
    "father",
    "power",
    "hour",
    "game",
    "line",
    "end",
    "member",
    "law",
    "car",
    "city",
    "name",
    "team",
]
_TASK = (
    "\n\nNow count upwards from 1, one number per line, in digits and without any other "
    "word. Do not stop."
)
_SMALL, _LARGE = 8, 72
"""Words of the two prompts that tell how many tokens a word has."""
_FEWEST_WORDS = 4
_CORRECTIONS = 4
_TOLERANCE = 0.01
"""Of a prompt's length, where words of several tokens do not give it exactly."""
_TOLERANCE_TOKENS = 2
_SHORT_ATTEMPTS = 3
_MOST_CACHED = 0.5


@dataclass(kw_only=True, slots=True)
class EndpointBench:
    """Measures tests on one endpoint; remembers how many tokens a word has there."""

    client: Client
    repetitions: int
    timeout_s: float
    on_progress: Callable[[str], None] = field(default=lambda _: None)
    seed: str = field(default_factory=secrets.token_hex)
    """What the measured prompts are drawn from: equal for servers that are compared."""
    prompt_tokens: int = 0
    """Of the last measured prompt, as the server counts them."""
    _tokens_per_word: float = 0.0
    _overhead_tokens: float = 0.0
    """Of the template and the task."""

    def run(
        self, tests: Sequence[SpeedTest], on_result: Callable[[SpeedResult], None]
    ) -> None:
        """Measure the tests in order; each result is handed over when it is known."""
        process = Process.started(())
        for test in tests:
            measured = self.measure(test)
            outcome = (
                Done(result=measured) if isinstance(measured, SpeedSample) else measured
            )
            on_result(SpeedResult(test=test, outcome=outcome, process=process))

    def measure(
        self, test: SpeedTest, *, words: int = 0
    ) -> SpeedSample | Failed | Invalid:
        """One warm-up round, then the repetitions; the first failure ends the test.

        The prompt has this many words, or as many as the test's tokens need.
        """
        fitting = words or self.words_for(test)
        if not isinstance(fitting, int):
            return fitting
        rounds: list[list[Answer]] = []
        for number in range(1 + self.repetitions):
            self.on_progress(f"request {number + 1} of {1 + self.repetitions}")
            answers = self._round(test, fitting, number)
            if not isinstance(answers, list):
                return answers
            rounds.append(answers)
            self.prompt_tokens = answers[0].prompt_tokens
        return _sample(test, rounds)

    def words_for(self, test: SpeedTest) -> int | Failed | Invalid:
        """Return how many words make the prompt of a test; the fewest without one."""
        tokens = test.n_prompt or test.n_depth
        if not tokens:
            return _FEWEST_WORDS
        if not self._tokens_per_word and (failed := self._count_words()):
            return failed
        words = round((tokens - self._overhead_tokens) / self._tokens_per_word)
        best: dict[int, int] = {}
        while words not in best and len(best) <= _CORRECTIONS:
            if words < _FEWEST_WORDS:
                least = round(self._overhead_tokens)
                return Invalid(
                    reason=f"template and task alone have {least} of {tokens} tokens",
                    tail=(),
                )
            answer = self._ask_once(words)
            if not isinstance(answer, Answer):
                return answer
            best[words] = answer.prompt_tokens
            words += round((tokens - answer.prompt_tokens) / self._tokens_per_word)
        words = min(best, key=lambda count: abs(best[count] - tokens))
        if abs(best[words] - tokens) > max(_TOLERANCE_TOKENS, _TOLERANCE * tokens):
            reason = f"no prompt of {tokens} tokens: the nearest has {best[words]}"
            return Invalid(reason=reason, tail=())
        return words

    def _count_words(self) -> Failed | None:
        """Learn how many tokens a word has, and template and task without any."""
        counts = []
        for words in (_SMALL, _LARGE):
            answer = self._ask_once(words)
            if not isinstance(answer, Answer):
                return answer
            counts.append(answer.prompt_tokens)
        self._tokens_per_word = (counts[1] - counts[0]) / (_LARGE - _SMALL)
        self._overhead_tokens = counts[0] - _SMALL * self._tokens_per_word
        if self._tokens_per_word > 0:
            return None
        reason = f"prompts of {_SMALL} and {_LARGE} words have {counts} tokens"
        return EndpointFailed(failure=EndpointFailure.NO_COUNTS, reason=reason)

    def _ask_once(self, words: int) -> Answer | Failed:
        text = _prompt(words, secrets.token_hex())
        return self.client.ask(text, max_tokens=1, timeout_s=self.timeout_s)

    def _round(
        self, test: SpeedTest, words: int, number: int
    ) -> list[Answer] | Failed | Invalid:
        """Let all clients ask at once; short answers are asked for again, all of them."""
        failed: Failed | None = None
        ask = partial(
            self.client.ask, max_tokens=test.n_gen or 1, timeout_s=self.timeout_s
        )
        for attempt in range(_SHORT_ATTEMPTS):
            texts = [
                _prompt(words, f"{self.seed}/{number}/{attempt}/{client}")
                for client in range(test.concurrency)
            ]
            with ThreadPoolExecutor(max_workers=test.concurrency) as pool:
                answers = list(pool.map(ask, texts))
            whole = [answer for answer in answers if isinstance(answer, Answer)]
            if len(whole) < len(answers):
                return next(one for one in answers if not isinstance(one, Answer))
            failed = _unusable(test, whole)
            if failed is None:
                return whole
            if failed.failure is not EndpointFailure.SHORT:
                break
        if failed is None:
            raise AssertionError
        return failed


def _prompt(words: int, seed: str) -> str:
    """The same words whatever the order: a fresh prompt of the same length."""
    chosen = [_WORDS[number % len(_WORDS)] for number in range(words)]
    Random(seed).shuffle(chosen)  # noqa: S311  # no secret
    return " ".join(chosen) + _TASK


def _unusable(test: SpeedTest, answers: Sequence[Answer]) -> EndpointFailed | None:
    for answer in answers:
        cached, whole = answer.cached_tokens or 0, answer.prompt_tokens
        if (test.n_prompt or test.n_depth) and cached > _MOST_CACHED * whole:
            return EndpointFailed(
                failure=EndpointFailure.CACHED,
                reason=f"{cached} of {whole} tokens of a fresh prompt came from a cache",
            )
        if not test.n_gen:
            continue
        if answer.generated_tokens < max(2, test.n_gen // 2):
            return EndpointFailed(
                failure=EndpointFailure.SHORT,
                reason=f"the model ended its answer after {answer.generated_tokens} of "
                f"{test.n_gen} tokens, {_SHORT_ATTEMPTS} times; lower n_gen, or give the "
                "server's own field in `request`, such as ignore_eos = true",
            )
        if answer.pieces < 2 or answer.last_ns <= answer.first_ns:  # noqa: PLR2004
            return EndpointFailed(
                failure=EndpointFailure.NOT_STREAMED,
                reason=f"{answer.generated_tokens} tokens came in one piece",
            )
    return None


def _sample(test: SpeedTest, rounds: Sequence[Sequence[Answer]]) -> SpeedSample:
    tokens, spans = [], []
    for answers in rounds:
        if test.n_prompt:
            tokens.append(sum(answer.processed_tokens for answer in answers))
            begin_ns = min(answer.begun_ns for answer in answers)
            spans.append(max(answer.first_ns for answer in answers) - begin_ns)
        else:
            tokens.append(sum(answer.generated_tokens - 1 for answer in answers))
            begin_ns = min(answer.first_ns for answer in answers)
            spans.append(max(answer.last_ns for answer in answers) - begin_ns)
    speeds = [1e9 * count / ns for count, ns in zip(tokens, spans, strict=True)]
    return SpeedSample(
        test=test,
        depth_tokens=test.n_depth,
        concurrency=test.concurrency,
        warmup_repetitions=1,
        first_token_ns=tuple(
            max(answer.first_ns - answer.begun_ns for answer in answers)
            for answers in rounds
        ),
        tokens=tuple(tokens),
        nanoseconds=tuple(spans),
        tokens_per_second=tuple(speeds),
        published_tps=statistics.fmean(speeds),
        published_sd_tps=statistics.stdev(speeds) if len(speeds) > 1 else 0.0,
        raw=msgspec.Raw(msgspec.json.encode(rounds)),
    )
