"""The subject `endpoint`: one test over HTTP, the same prompts for both arms.

An endpoint is asked as it runs. In each pair the other arm is another endpoint, or a
fresh llama-server of a pin, which is asked in the same way.
"""

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import msgspec

from llamatrix.clock import utc_now
from llamatrix.compare.arms import ArmSettings, both
from llamatrix.compare.ledger import WARM_UP
from llamatrix.compare.speed import (
    COLD,
    SPEED_METRICS,
    RepeatedSubject,
    SpeedCase,
    speed_cases,
)
from llamatrix.config.cell import Cell, SpeedTest, sha256_of
from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context
from llamatrix.config.endpoint_cell import EndpointCell
from llamatrix.config.expand import select_cells, select_profile
from llamatrix.config.matrix import EndpointSweep, HttpEndpoint, Matrix
from llamatrix.engines.endpoint.client import Reported, open_client
from llamatrix.engines.endpoint.speed import EndpointBench
from llamatrix.engines.outcome import (
    Done,
    Outcome,
    Process,
    SpeedSample,
    reason_of,
)
from llamatrix.engines.protocol import Bench, Served, StartupError
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.host import this_host
from llamatrix.measure.disturbances import Load
from llamatrix.measure.telemetry import sampling
from llamatrix.provision.compiler import compiler_id
from llamatrix.records.pair_records import EndpointRun
from llamatrix.records.store import stamp
from llamatrix.redaction import file_name, without_folders
from llamatrix.shell import TAIL_LINES, read_log
from llamatrix.stats.pairs import Arm
from llamatrix.stats.verdict import Metric

_VERSION = 1
"""Bumped by hand when pairs are run in another way: old pairs then do not count."""
_ROOM_TOKENS = 512
"""Beyond the test: the prompts that tell how long a word is, and the template."""
_SAME = 0.01
"""Prompts whose lengths differ by more are not the same tokens."""
_OUR_REQUEST: dict[str, bool | int | float | str] = {"ignore_eos": True}
"""A field of llama-server: each answer has all its tokens."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EndpointCase:
    """One test of both arms; at least one of them is an endpoint."""

    id: str
    """`endpoint/MODEL/april..mine/cpu/pp512`."""
    metric: Metric
    cells: Mapping[Arm, Cell | EndpointCell]
    test: SpeedTest

    @property
    def identical(self) -> bool:
        baseline, candidate = (self.cells[arm].spec_digest for arm in Arm)
        return baseline == candidate

    def digest(self, reported: Mapping[Arm, Reported]) -> str:
        """Over all that identifies both arms here, an endpoint by its own words."""
        parts: list[object] = [_VERSION, self.test.name]
        slug = this_host().slug
        for arm, cell in self.cells.items():
            if isinstance(cell, EndpointCell):
                own = reported.get(arm, Reported())
                parts.append(cell.digest(host_slug=slug, reported=own))
            else:
                compiler = compiler_id(cell.build.backend)
                parts.append(cell.digest(host_slug=slug, compiler=compiler))
        return sha256_of(parts)


def endpoint_cases(
    context: Context,
    arms: Mapping[Arm, ArmSettings],
    *,
    metrics: Sequence[Metric] = SPEED_METRICS,
    cells: str = "",
) -> tuple[EndpointCase, ...]:
    """Every case: the tests of the profile's sweep, with the model that is served."""
    engines = [settings for settings in arms.values() if not settings.endpoint]
    engine = engines[0] if engines else ArmSettings(pin=arms[Arm.BASELINE].pin)
    if not engine.model:
        (endpoint, *_) = (one.endpoint for one in arms.values() if one.endpoint)
        model = _model_of(context, endpoint, any_of=not engines)
        engine = replace(engine, model=model)
    facing = speed_cases(context, dict.fromkeys(Arm, engine), metrics=metrics)
    if missing := [case for case in facing if case.test is None]:
        raise MatrixError(f"{missing[0].id}: {missing[0].lacking}")
    return select_cells(
        [_case(one, one.test, context.matrix, arms) for one in facing if one.test],
        cells,
        ids=lambda case: (case.id, *(cell.id for cell in case.cells.values())),
    )


def _model_of(context: Context, endpoint: str, *, any_of: bool) -> str:
    """Return the model of ours that the endpoint serves, by its name there.

    Any of the profile's where no arm has weights: only the sizes of its tests matter.
    """
    matrix = context.matrix
    own = matrix.endpoints[endpoint].model
    models = select_profile(matrix, context.profile).models
    if own in matrix.models:
        return own
    if models and (any_of or len(models) == 1):
        return models[0]
    raise MatrixError(
        f"endpoints.{endpoint}: serves {own!r}, which is no key of [models]"
        f"{nearest(own, matrix.models)}; name the same model in the other arm, for "
        "example --baseline april,model:NAME-OR-PATH"
    )


def _case(
    facing: SpeedCase,
    test: SpeedTest,
    matrix: Matrix,
    arms: Mapping[Arm, ArmSettings],
) -> EndpointCase:
    cells: dict[Arm, Cell | EndpointCell] = {}
    for arm, settings in arms.items():
        cell = facing.cells[arm]
        if settings.endpoint:
            cells[arm] = EndpointCell(
                endpoint_key=settings.endpoint,
                endpoint=matrix.endpoints[settings.endpoint],
                sweep_key=cell.sweep_key,
                sweep=EndpointSweep(
                    n_prompt=cell.sweep.n_prompt,
                    n_gen=cell.sweep.n_gen,
                    n_depth=cell.sweep.n_depth,
                    repetitions=1,
                    timeout_s=cell.sweep.timeout_s,
                ),
            )
        else:
            cells[arm] = cell
    engines = [cell for cell in cells.values() if isinstance(cell, Cell)]
    names = [
        cell.pin_key if isinstance(cell, Cell) else cell.endpoint_key
        for cell in cells.values()
    ]
    parts = [
        "endpoint",
        *(cell.weights_key for cell in engines),
        both(*names),
        *(cell.build_key for cell in engines),
        test.name.replace(" ", ""),
    ]
    return EndpointCase(
        id="/".join(parts), metric=facing.metric, cells=cells, test=test
    )


def identified(case: EndpointCase) -> dict[Arm, Reported]:
    """Ask the endpoints what they are; MeasureError for one that does not answer."""
    reported = {}
    for arm, cell in case.cells.items():
        if not isinstance(cell, EndpointCell):
            continue
        with open_client(cell.endpoint) as client:
            answer = client.introduce(timeout_s=cell.sweep.timeout_s)
        if not isinstance(answer, Reported):
            raise MeasureError(
                f"endpoint {cell.endpoint_key}: {reason_of(answer)}; `invoke doctor` "
                "asks it alone"
            )
        reported[arm] = answer
    return reported


@dataclass(kw_only=True, slots=True)
class EndpointSubject(RepeatedSubject[EndpointRun]):
    case: EndpointCase
    reported: Mapping[Arm, Reported]
    seed: int
    """Of the series: with the pair's number it decides the prompts."""
    repeated: ClassVar[str] = "requests"
    _words: int = 0
    """Of each prompt, as the first server that answered needs them …"""
    _prompt_tokens: int = 0
    """… and its count of their tokens."""

    def run(self, arm: Arm, own: Sequence[EndpointRun], *, pair: int) -> EndpointRun:
        cell = self.case.cells[arm]
        parts = self.parts.get(arm)
        process = Process(
            id=uuid.uuid4().hex[:12],
            argv=(),
            started_at=utc_now(),
        )
        repetitions = self.repetitions(own)
        # a warm-up may ask one endpoint several times: a known prompt would be cached
        seed = f"{self.seed}/{self.id}/{pair}" if pair != WARM_UP else process.id
        begin = time.monotonic()
        prompt_tokens = 0
        with sampling() as sampler:
            try:
                with self._served(arm, process.id) as (endpoint, argv):
                    process = msgspec.structs.replace(process, argv=argv)
                    sampler.since_last_take()  # loading is no part of it
                    outcome, prompt_tokens = self._asked(
                        endpoint, seed, repetitions - COLD, cell.sweep.timeout_s
                    )
            except StartupError as error:
                lines = read_log(self._log(arm, process.id)).splitlines()
                tail = tuple(map(without_folders, lines[-TAIL_LINES:]))
                outcome = ENGINE.start_outcome(error, tail)
            telemetry = sampler.since_last_take()
        if prompt_tokens:
            self._require_same_tokens(arm, prompt_tokens)
        return EndpointRun(
            case=self.id,
            digest=self.case.digest(self.reported),
            series=0,
            pair=0,
            place=0,
            arm=arm,
            cell=cell.id,
            test=self.test,
            repetitions=repetitions,
            outcome=outcome,
            seconds=time.monotonic() - begin,
            load=Load(),
            disturbed="",
            process=process,
            telemetry=telemetry,
            words=self._words,
            prompt_tokens=prompt_tokens,
            reported=self.reported.get(arm),
            locked=cell.locked if isinstance(cell, Cell) else None,
            build=parts.built.manifest if parts else None,
            weights=parts.weights.facts if parts else None,
            **stamp(),
        )

    def _asked(
        self, endpoint: HttpEndpoint, seed: str, repetitions: int, timeout_s: float
    ) -> tuple[Outcome, int]:
        """Measure the test there; return its outcome and the tokens of a prompt."""
        with open_client(endpoint) as client:
            bench = EndpointBench(
                client=client, repetitions=repetitions, timeout_s=timeout_s, seed=seed
            )
            words = self._words or bench.words_for(self.test)
            if not isinstance(words, int):
                return words, 0
            self._words = words
            measured = bench.measure(self.test, words=words)
        if isinstance(measured, SpeedSample):
            return Done(result=measured), bench.prompt_tokens
        return measured, bench.prompt_tokens

    @contextmanager
    def _served(
        self, arm: Arm, process: str
    ) -> Iterator[tuple[HttpEndpoint, tuple[str, ...]]]:
        """Yield the arm's endpoint, and the command line of a server of our own."""
        cell = self.case.cells[arm]
        if isinstance(cell, EndpointCell):
            yield cell.endpoint, ()
            return
        parts, test = self.parts[arm], self.test
        bench = Bench(
            program=parts.built.program("llama-server"),
            weights=parts.weights.path,
            commit=cell.locked.reported_commit,
            fork=cell.locked.fork,
            sweep=cell.sweep,
            log=self._log(arm, process),
        )
        served = Served(
            alias=cell.model_key, model=cell.model, draft=None, draft_weights=None
        )
        deep = msgspec.structs.replace(test, n_depth=test.n_depth + _ROOM_TOKENS)
        launch = ENGINE.launch_for(bench, served, [deep])
        with ENGINE.serve(launch, log=bench.log) as serving:
            endpoint = HttpEndpoint(
                url=serving.url, model=cell.model_key, request=_OUR_REQUEST
            )
            yield endpoint, tuple(map(file_name, serving.argv))

    def _log(self, arm: Arm, process: str) -> Path:
        return self.project.logs / f"{self.id.replace('/', '-')}-{arm}-{process}.log"

    def _require_same_tokens(self, arm: Arm, tokens: int) -> None:
        first = self._prompt_tokens = self._prompt_tokens or tokens
        if abs(tokens - first) > max(1, _SAME * first):
            raise MeasureError(
                f"{self.id}: the {arm} counts {tokens} tokens in a prompt that has "
                f"{first} in the other arm: another vocabulary or chat template; "
                "compare servers of one model"
            )
