"""`invoke regress --agent`: the cells of both arms, their trials, and the answer."""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace

from llamatrix.commands.launching import Template, template_named
from llamatrix.commands.regress.agent.arms import AgentCase, agent_cases, template_of
from llamatrix.commands.regress.agent.conduct import Conducted, Conductor
from llamatrix.commands.regress.agent.plan import plan_lines
from llamatrix.commands.regress.agent.request import AgentRequest
from llamatrix.commands.regress.agent.sample import Sample, sample_text
from llamatrix.commands.regress.agent.trying import Attempts, RealAttempts
from llamatrix.config.context import Context, load_context
from llamatrix.config.lock import Lock
from llamatrix.config.matrix import Model
from llamatrix.host import this_host
from llamatrix.progress import say
from llamatrix.project import Project, find_project
from llamatrix.provision.resolve_weights import with_known_weights
from llamatrix.records.store import Store
from llamatrix.records.trial_record import AGENT
from llamatrix.report.agent_regress import (
    AgentArmFacts,
    AgentCellFound,
    AgentRegression,
)
from llamatrix.stats.pairs import Arm
from llamatrix.stats.trials import judge_trials, overall_word, pooled

_SEVERAL = 2


def regress_agents(
    request: AgentRequest,
    *,
    project: Project | None = None,
    attempts: Attempts | None = None,
) -> AgentRegression | None:
    """Compare the arms; None after a dry run, which only says the plan."""
    begin = time.monotonic()
    project = project or find_project()
    context, cases = _planned(request, project)
    store = Store(reports=project.reports, kind=AGENT)
    samples = [sample_text(case, store) for case in cases]
    for line in plan_lines(samples, trials=request.trials, budget_s=request.budget_s):
        say(line)
    if request.dry_run:
        return None
    store.require_room(this_host().slug)
    known = _known(samples)
    with ExitStack() as held:
        done = Conductor(
            attempts=attempts or RealAttempts(context=context, held=held),
            project=project,
            deadline=begin + request.budget_s,
        ).conduct(samples)
    found = [_found(one, done) for one in samples]
    compared = [one.compared.comparison for one in found if one.compared.comparison]
    together = pooled(compared) if len(compared) >= _SEVERAL else None
    return AgentRegression(
        verdict=overall_word([one.compared for one in found], together),
        baseline=_facts(cases, Arm.BASELINE),
        candidate=_facts(cases, Arm.CANDIDATE),
        identical=all(case.identical for case in cases),
        scripted=any(
            cell.script_of(1) for case in cases for cell in case.cells.values()
        ),
        profile=context.profile,
        host=this_host().summary,
        trials=request.trials,
        cells=tuple(found),
        pooled=together,
        reused=known,
        made=done.made,
        made_s=done.seconds,
        wall_s=time.monotonic() - begin,
    )


def _planned(
    request: AgentRequest, project: Project
) -> tuple[Context, tuple[AgentCase, ...]]:
    context = replace(
        load_context(request.profile, project=project), weights_dir=request.weights_dir
    )

    def named(arm: Arm, model: Model) -> Template | None:
        name = request.asked[arm].template
        if not name:
            return None
        flag = f"--{arm}-template"
        return template_named(name, model, context, flag=flag)

    def cases(lock: Lock) -> tuple[AgentCase, ...]:
        return agent_cases(
            context.matrix,
            lock,
            context.profile,
            request.asked,
            trials=request.trials,
            tasks=request.tasks,
            cells=request.cells,
            templates=named,
        )

    planned = cases(context.lock)
    cells = [cell for case in planned for cell in case.cells.values()]
    known = with_known_weights(context, cells, ask_hub=not request.dry_run)
    planned = cases(known.lock) if known.lock != context.lock else planned
    for case in planned:
        say(f"{case.id}: to compare")
    return known, planned


def _known(samples: Sequence[Sample]) -> int:
    every = len(Arm) * sum(one.case.trials for one in samples)
    return every - sum(len(one.due()) for one in samples)


def _found(one: Sample, done: Conducted) -> AgentCellFound:
    case = one.case
    verdict = judge_trials(
        one.of(Arm.BASELINE),
        one.of(Arm.CANDIDATE),
        max_turns=case.cells[Arm.BASELINE].agent.max_turns,
        broken=done.broken.get(case.id, ""),
    )
    return AgentCellFound(
        id=case.id,
        compared=verdict,
        ratios=one.ratios(),
        notes=_told(case.id, done.notes),
    )


def _told(case: str, notes: Mapping[str, str]) -> tuple[str, ...]:
    return (notes[case],) if case in notes else ()


def _facts(cases: Sequence[AgentCase], arm: Arm) -> AgentArmFacts:
    cells = [case.cells[arm] for case in cases]
    first = cells[0]
    return AgentArmFacts(
        pin=first.pin_key,
        commit=first.locked.commit,
        build=first.build_key,
        server=first.server_key,
        templates=tuple(dict.fromkeys(template_of(cell) for cell in cells)),
        opencode=first.opencode.version,
        context7=first.context7.version,
    )
