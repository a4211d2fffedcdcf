"""Real attempts: what both arms need, provided once, and OpenCode's work with it."""

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from llamatrix.commands.agent import describe, recorded_attempt, shared_services
from llamatrix.commands.pending import CellStatus
from llamatrix.commands.regress.agent.arms import AgentCase
from llamatrix.commands.regress.proving import newly_failing
from llamatrix.commands.trial_parts import AgentParts, provide_agent_parts
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.context import Context
from llamatrix.errors import MeasureError, ServeError
from llamatrix.provision.build import CompileError
from llamatrix.records.store import Store
from llamatrix.records.trial_record import TrialRecord
from llamatrix.stats.pairs import Arm
from llamatrix.trials.requirements import unmet
from llamatrix.trials.stubs.serving import Services


class Attempts(Protocol):
    """How trials come about."""

    def lacking(self, case: AgentCase) -> str:
        """Why this machine cannot try it, in either arm; empty where it can."""
        ...

    def broken(self, case: AgentCase) -> str:
        """Provide both arms; why the candidate is broken before its first trial."""
        ...

    def attempt(
        self,
        case: AgentCase,
        arm: Arm,
        *,
        item: CellStatus[AgentCell],
        number: int,
        store: Store[TrialRecord],
    ) -> TrialRecord:
        """One attempt, on disk before this returns."""
        ...


@dataclass(kw_only=True, slots=True)
class RealAttempts:
    context: Context
    held: ExitStack
    """Ends what the trials share."""
    _parts: dict[tuple[str, ...], AgentParts] = field(default_factory=dict)
    _services: dict[str, Services | None] = field(default_factory=dict)

    def lacking(self, case: AgentCase) -> str:
        for cell in case.cells.values():
            if why := unmet(cell, self.context.project.cache, os.environ):
                return describe(why)
        return ""

    def broken(self, case: AgentCase) -> str:
        """A baseline that cannot be had stops the harness: nothing could be compared.

        So does a package of either arm that cannot be fetched.
        """
        baseline = self._provided(case, Arm.BASELINE)
        try:
            candidate = self._provided(case, Arm.CANDIDATE)
        except CompileError as error:
            return f"the candidate does not build: {error}"
        except (MeasureError, ServeError) as error:
            return f"the candidate's template cannot be proven: {error}"
        return newly_failing(baseline.template, candidate.template)

    def attempt(
        self,
        case: AgentCase,
        arm: Arm,
        *,
        item: CellStatus[AgentCell],
        number: int,
        store: Store[TrialRecord],
    ) -> TrialRecord:
        parts, shared = self._provided(case, arm), self._shared(case)
        project = self.context.project
        return recorded_attempt(item, number, parts, project, shared, store)

    def _provided(self, case: AgentCase, arm: Arm) -> AgentParts:
        """The tasks of one engine share everything."""
        same = Arm.BASELINE if case.identical else arm
        key = (same, case.cells[arm].weights_key)
        if key not in self._parts:
            self._parts[key] = provide_agent_parts(
                case.cells[arm],
                self.context,
                template=case.templates.get(arm),
                any_template=True,  # what fails in both arms breaks neither
            )
        return self._parts[key]

    def _shared(self, case: AgentCase) -> Services | None:
        cells = list(case.cells.values())
        network = str(cells[0].agent.network)
        if network not in self._services:
            self._services[network] = shared_services(
                cells, self.context.project, self.held
            )
        return self._services[network]
