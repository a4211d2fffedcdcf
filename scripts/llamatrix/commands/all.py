"""`invoke all`: speed, trials and tables in one command."""

from llamatrix.commands.agent import TrialTally, make_trials
from llamatrix.commands.bench import NOT_ALL_NUMBERS, Tally, measure_speeds
from llamatrix.commands.context import context as search_context
from llamatrix.commands.flags import AgentFlags, ContextFlags
from llamatrix.commands.pending import load_pending
from llamatrix.commands.plan import plan_text
from llamatrix.commands.tabulate import tables_of
from llamatrix.config.matrix import Profile


def all_(flags: AgentFlags) -> int:
    """Measure speed cells, make trials and print the tables; return the exit code."""
    pending = load_pending(flags)
    if flags.dry_run:
        print(plan_text(pending))
        return 0
    context = pending.context
    tallies: list[Tally | TrialTally] = [*measure_speeds(pending, flags)]
    if pending.trials:
        tallies.append(
            make_trials(pending.trials, context, any_template=flags.any_template)
        )
    print(tables_of(pending), end="")
    if not flags.cells:
        for name in (context.profile, *context.matrix.profiles[context.profile].also):
            _search_contexts(name, context.matrix.profiles[name])
    without_number = sum(tally.without_number for tally in tallies)
    return NOT_ALL_NUMBERS if without_number else 0


def _search_contexts(name: str, profile: Profile) -> None:
    """Search the largest context of a profile's models, where it says up to which."""
    for key in profile.models if profile.max_context else ():
        flags = ContextFlags(
            profile=name, model=key, max_context=profile.max_context or 0, budget="5m"
        )
        print(search_context(flags), end="")
