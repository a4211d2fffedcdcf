"""The first run on a CUDA card, in steps that can be cut short and begun again.

Build for this card, write made-up weights, then measure by hand and through the harness
in turn, with telemetry; hold memory against the prediction and speed against the
hardware's limits; delete the weights. What is finished is recorded and not done twice.
"""

import shutil
import time
from dataclasses import replace
from enum import StrEnum

from llamatrix.commands.bench import bench_of, measure
from llamatrix.commands.flags import GpuProofFlags
from llamatrix.commands.hand_runs import BY_HAND, hand_runs, run_by_hand
from llamatrix.commands.launching import Parts, provide_parts
from llamatrix.commands.pending import CellStatus, find_pending, speed_status
from llamatrix.config.cell import Cell
from llamatrix.config.context import Context, load_context
from llamatrix.config.matrix import Backend, WeightsKind
from llamatrix.errors import MatrixError, MeasureError
from llamatrix.exclusive import exclusive
from llamatrix.measure.speed import warmed_up
from llamatrix.measure.telemetry import sampling_share
from llamatrix.nvml import gpus
from llamatrix.progress import say
from llamatrix.project import Project
from llamatrix.provision.build import provide_build
from llamatrix.provision.compiler import require_compiler
from llamatrix.provision.weights.fit import MemorySettings, known_shape, memory_need
from llamatrix.provision.weights.provide import provide_weights
from llamatrix.provision.weights.synthetic.models import Scale
from llamatrix.records.speed_record import SPEED
from llamatrix.records.store import Store
from llamatrix.report.gpu_page import Proof, gpu_page
from llamatrix.report.speed import groups
from llamatrix.units import bytes_text, duration_text, parse_duration_s

_SAMPLED_S = 5.0


class Step(StrEnum):
    BUILD = "build"
    WEIGHTS = "weights"
    MEASURE = "measure"
    ALL = "all"


def prove(asked: GpuProofFlags) -> str:
    """Do a step, or all of them as far as the budget reaches; return the page."""
    budget_s, wanted = _duration(asked.budget), _step(asked.step)
    deadline = time.monotonic() + budget_s
    pending = find_pending(
        load_context(asked.profile, weights_dir=asked.weights_dir),
        f"speed/{asked.model}[./]*",
        ask_hub=wanted is not Step.BUILD,
    )
    session, item = pending.context, pending.speed[0]
    folder = session.weights_dir
    if item.cell.build.backend is Backend.CUDA:
        _ensure_card(item)
    if wanted in (Step.BUILD, Step.ALL):
        built = provide_build(item.cell, session.project.cache)
        say(f"build: {built.folder}")
    if wanted in (Step.WEIGHTS, Step.ALL):
        weights = provide_weights(item.cell, session.project.cache, weights_dir=folder)
        say(f"weights: {weights.path}")
    if wanted in (Step.MEASURE, Step.ALL) and _is_unfinished(item, session.project):
        parts = provide_parts(item.cell, session.project, weights_dir=folder)
        share = 100 * sampling_share(_SAMPLED_S)
        say(f"sampling takes {share:.2f} % of one core (at most 1 %)")
        finished = _measure(item, parts, session, deadline)
        if finished and not asked.keep and item.cell.weights is WeightsKind.FULL:
            shutil.rmtree(parts.weights.path.parent)
            say(f"deleted the weights: {bytes_text(parts.weights.facts.file_bytes)}")
    return _written(session, item)


def _is_unfinished(item: CellStatus[Cell], project: Project) -> bool:
    by_hand = {run.repeat for run in hand_runs(item, project)}
    return bool(item.due) or len(by_hand) < item.cell.sweep.processes


def _ensure_card(item: CellStatus[Cell]) -> None:
    """Stop before anything is written where there is no compiler, card or room."""
    require_compiler(Backend.CUDA)
    cards = gpus()
    if not cards:
        raise MeasureError(
            "nvcc is here, but NVIDIA's library shows no card: nothing to prove; "
            "`nvidia-smi` should list one"
        )
    sweep = item.cell.sweep
    largest = max(*sweep.n_prompt, *sweep.n_gen)
    needed = memory_need(
        known_shape(item.cell.model_key, _scale(item)),
        _use(item),
        context_tokens=largest,
    ).total
    card = max(cards, key=lambda one: one.memory_bytes)
    if needed > card.memory_bytes:
        raise MeasureError(
            f"{item.cell.model.name} at {largest} tokens needs {bytes_text(needed)} by "
            f"prediction, {card.name} has {bytes_text(card.memory_bytes)}; `invoke fit "
            "--vram` shows what fits"
        )
    say(f"{card.name}: {bytes_text(needed)} of {bytes_text(card.memory_bytes)} needed")


def _scale(item: CellStatus[Cell]) -> Scale:
    """Of published weights too: made-up ones have their size."""
    tiny = item.cell.weights is WeightsKind.TINY
    return Scale.TINY if tiny else Scale.FULL


def _use(item: CellStatus[Cell]) -> MemorySettings:
    sweep = item.cell.sweep
    return MemorySettings(
        cache_type_k=sweep.cache_type_k,
        cache_type_v=sweep.cache_type_v,
        ubatch_size=sweep.ubatch_size,
    )


def _measure(
    item: CellStatus[Cell], parts: Parts, session: Context, deadline: float
) -> bool:
    """Pairs of processes, whose order turns from pair to pair; False if time ran out."""
    longest_s = 0.0
    for number in range(1, item.cell.sweep.processes + 1):
        arms = [_hand, _ours]
        for arm in arms if number % 2 else reversed(arms):
            begin = time.monotonic()
            if begin + longest_s > deadline:
                say(
                    f"stopping: the next process takes {duration_text(longest_s)}, more "
                    "than the budget has left; the same command goes on from here"
                )
                return False
            if arm(item, parts, session, number):
                longest_s = max(longest_s, time.monotonic() - begin)
    return True


def _hand(item: CellStatus[Cell], parts: Parts, session: Context, number: int) -> bool:
    """Whether there was anything to do."""
    project = session.project
    if any(run.repeat == number for run in hand_runs(item, project)):
        return False
    here = bench_of(item.cell, parts, project)
    with exclusive(project.cache / "measuring.lock", purpose="measuring"):
        say(f"by hand #{number}: llama-bench, {len(item.cell.tests)} tests")
        warmed_up(here)
        run = run_by_hand(item, here, item.cell.tests, repeat=number)
    Store(reports=project.reports, kind=BY_HAND).append(run)
    if run.exit_code:
        raise MeasureError(
            f"llama-bench by hand ended with exit code {run.exit_code} after "
            f"{len(run.samples)} rows; its output lies in {here.log.parent}"
        )
    return True


def _ours(item: CellStatus[Cell], parts: Parts, session: Context, number: int) -> bool:
    del parts
    store = Store(reports=session.project.reports, kind=SPEED)
    due = [one for one in speed_status(item.cell, store).due if one.number == number]
    if due:
        measure([replace(item, due=tuple(due))], session)
    return bool(due)


def _written(session: Context, item: CellStatus[Cell]) -> str:
    """Write the page beside the other reports; the text of it, empty before a record."""
    project = session.project
    store = Store(reports=project.reports, kind=SPEED)
    found = groups(
        (record for record in store.read_all() if record.cell.digest == item.digest),
        models=(item.cell.model_key,),
    )
    if not found:
        return ""
    by_hand = {run.repeat: run.samples for run in hand_runs(item, project)}
    proof = Proof(group=found[0], by_hand=by_hand)
    text = gpu_page(proof)
    path = project.reports / proof.file_name
    path.write_text(text)
    say(f"written: {path.relative_to(project.root)}")
    return text


def _step(text: str) -> Step:
    try:
        return Step(text)
    except ValueError:
        raise MatrixError(f"--step {text!r}: write one of {', '.join(Step)}") from None


def _duration(text: str) -> float:
    try:
        return parse_duration_s(text)
    except ValueError as error:
        raise MatrixError(f"--budget: {error}") from error
