"""`invoke all`: speed, trials and tables in one command."""

from llamatrix.commands.agent import make_trials
from llamatrix.commands.bench import NOT_ALL_NUMBERS, measure_speeds
from llamatrix.commands.context import context as search_context
from llamatrix.commands.flags import AgentFlags, ContextFlags
from llamatrix.commands.pending import load_pending
from llamatrix.commands.plan import plan_text
from llamatrix.commands.tabulate import tables_of
from llamatrix.config.matrix import Profile


def all_(flags: AgentFlags) -> int:
    """Measure speed cells, make trials and print the tables; return the exit code.

    What a model does when it speaks for itself is no failure of the benchmark: a trial
    of it that is broken or undecided is in the tables and changes no exit code.
    """
    pending = load_pending(flags)
    if flags.dry_run:
        print(plan_text(pending))
        return 0
    context = pending.context
    without_number = sum(
        tally.without_number for tally in measure_speeds(pending, flags)
    )
    if pending.trials:
        tally = make_trials(pending.trials, context, any_template=flags.any_template)
        without_number += tally.without_number - tally.unscripted
    print(tables_of(pending), end="")
    if not flags.cells:
        for name in (context.profile, *context.matrix.profiles[context.profile].also):
            _search_contexts(name, context.matrix.profiles[name])
    return NOT_ALL_NUMBERS if without_number else 0


def _search_contexts(name: str, profile: Profile) -> None:
    """Search the largest context of a profile's models, where it says up to which."""
    for key in profile.models if profile.max_context else ():
        flags = ContextFlags(
            profile=name, model=key, max_context=profile.max_context or 0, budget="5m"
        )
        print(search_context(flags), end="")
