"""The two arms of a comparison of agents: which agent cells face each other."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from llamatrix.commands.launching import Template
from llamatrix.commands.regress.arms import both
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.complaint import nearest
from llamatrix.config.expand import (
    expand_plan,
    matches_any,
    select_cells,
    select_profile,
)
from llamatrix.config.lock import Lock, LockedTemplate
from llamatrix.config.matrix import AgentSetup, Matrix, Measurement, Model, Profile
from llamatrix.errors import MatrixError
from llamatrix.stats.pairs import Arm

Named = Callable[[Arm, Model], Template | None]
"""The template that an arm's user named for a model; None leaves the model its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskedAgent:
    """One arm as the user named it; an empty key is the profile's own."""

    pin: str = ""
    build: str = ""
    server: str = ""
    opencode: str = ""
    context7: str = ""
    template: str = ""
    """`vendor`, one of ours, or a file."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentCase:
    """One task done by one model in both arms: what gets a verdict of its own."""

    cells: dict[Arm, AgentCell]
    templates: dict[Arm, Template]
    """Only of an arm whose template is not the model's own."""
    trials: int
    """Of each arm."""

    @property
    def id(self) -> str:
        """As a cell id, with `baseline..candidate` where the two differ."""
        baseline, candidate = (self.cells[arm] for arm in Arm)
        parts = [
            "agent",
            baseline.weights_key,
            both(baseline.pin_key, candidate.pin_key),
            both(baseline.build_key, candidate.build_key),
            both(baseline.agent.opencode, candidate.agent.opencode),
        ]
        for a, b in (
            (baseline.agent.context7, candidate.agent.context7),
            (baseline.server_key, candidate.server_key),
            (template_of(baseline), template_of(candidate)),
        ):
            parts += [both(a, b)] if a != b else []
        return "/".join([*parts, baseline.task])

    @property
    def identical(self) -> bool:
        """Both arms are the same: an A/A comparison. Their task always is."""
        specs = {one.spec_digest(task_digest="") for one in self.cells.values()}
        return len(specs) == 1

    def number(self, arm: Arm, place: int) -> int:
        """Under which number the store knows an arm's trial, from 1.

        Arms that are the same share a cell: the candidate's trials come after the
        baseline's there. Where transcripts take turns, both play the same one.
        """
        if arm is Arm.BASELINE or not self.identical:
            return place
        cell = self.cells[arm]
        turns = len(cell.agent.scripts.get(cell.task, ())) or 1
        return place + -(-self.trials // turns) * turns


def template_of(cell: AgentCell) -> str:
    """For people."""
    return cell.model.chat_template_file or "embedded"


def agent_cases(
    matrix: Matrix,
    lock: Lock,
    profile: str,
    asked: dict[Arm, AskedAgent],
    *,
    trials: int,
    tasks: Sequence[str] = (),
    cells: str = "",
    templates: Named = lambda _arm, _model: None,
) -> tuple[AgentCase, ...]:
    """Every model at every task, in the profile's order; MatrixError for none."""
    chosen = select_profile(matrix, profile)
    setup = _setup(matrix, profile, chosen)
    for arm in Arm:
        _refuse_unknown(matrix, arm, asked[arm])
    for task in tasks:
        if task not in setup.tasks:
            raise MatrixError(
                f"--tasks {task!r}: not a task of agents.{chosen.agent}"
                f"{nearest(task, setup.tasks)}"
            )
    setup = msgspec.structs.replace(setup, tasks=tuple(tasks) or setup.tasks)
    arms = [_cells(matrix, lock, profile, setup, asked[arm]) for arm in Arm]
    every = []
    for baseline, candidate in zip(*arms, strict=True):
        if not _kept((baseline.id, candidate.id), chosen):
            continue
        named = {arm: found for arm in Arm if (found := templates(arm, baseline.model))}
        facing = {Arm.BASELINE: baseline, Arm.CANDIDATE: candidate}
        own = [arm for arm, found in named.items() if _is_own(facing[arm], found)]
        named = {arm: found for arm, found in named.items() if arm not in own}
        every.append(
            AgentCase(
                cells={
                    arm: _served_with(cell, named.get(arm))
                    for arm, cell in facing.items()
                },
                templates=named,
                trials=trials,
            )
        )
    return select_cells(
        every,
        cells,
        ids=lambda case: (case.id, *(cell.id for cell in case.cells.values())),
    )


def _setup(matrix: Matrix, name: str, profile: Profile) -> AgentSetup:
    if profile.agent is None or profile.server is None:
        raise MatrixError(
            f"profile {name!r}: it has no agent to compare; take one with `agent` and "
            "`server`, such as smoke or published"
        )
    return matrix.agents[profile.agent]


def _refuse_unknown(matrix: Matrix, arm: Arm, asked: AskedAgent) -> None:
    for flag, name, known in (
        (f"--{arm}", asked.pin, matrix.pins),
        (f"--{arm}-build", asked.build, matrix.builds),
        (f"--{arm}-server", asked.server, matrix.servers),
        (f"--{arm}-opencode", asked.opencode, matrix.opencode),
        (f"--{arm}-context7", asked.context7, matrix.context7),
    ):
        if name and name not in known:
            raise MatrixError(
                f"{flag} {name!r}: not in matrix.toml{nearest(name, known)}"
            )


def _cells(
    matrix: Matrix, lock: Lock, profile: str, setup: AgentSetup, asked: AskedAgent
) -> tuple[AgentCell, ...]:
    """An arm's cells of all models and tasks, one pin and one build."""
    chosen = matrix.profiles[profile]
    key = str(chosen.agent)
    arm = msgspec.structs.replace(
        chosen,
        pins=(asked.pin or chosen.pins[0],),
        builds=(asked.build or chosen.builds[0],),
        server=asked.server or chosen.server,
        measure=(Measurement.AGENT,),
        include=("*",),
        exclude=(),
    )
    agent = msgspec.structs.replace(
        setup,
        opencode=asked.opencode or setup.opencode,
        context7=asked.context7 or setup.context7,
    )
    told = msgspec.structs.replace(
        matrix,
        profiles={**matrix.profiles, profile: arm},
        agents={**matrix.agents, key: agent},
    )
    return expand_plan(told, lock, profile).agents


def _is_own(cell: AgentCell, template: Template) -> bool:
    return cell.template is not None and cell.template.result_sha256 == template.sha256


def _served_with(cell: AgentCell, template: Template | None) -> AgentCell:
    """The cell with another template: as a file of ours it is part of the digest."""
    if template is None:
        return cell
    model = msgspec.structs.replace(cell.model, chat_template_file=template.name)
    sha256 = template.sha256
    locked = LockedTemplate(source_sha256=sha256, result_sha256=sha256)
    return msgspec.structs.replace(cell, model=model, template=locked)


def _kept(ids: Sequence[str], profile: Profile) -> bool:
    return matches_any(ids, profile.include) and not matches_any(ids, profile.exclude)
