"""`invoke all`: speed, trials and tables in one command."""

from llamatrix.commands.agent import make_trials
from llamatrix.commands.bench import NOT_ALL_NUMBERS, measure_speeds
from llamatrix.commands.context import context as search_context
from llamatrix.commands.flags import AllFlags, ContextFlags
from llamatrix.commands.meanwhile import fetches_of
from llamatrix.commands.pending import load_pending
from llamatrix.commands.plan import plan_text
from llamatrix.commands.tabulate import summary_of, tables_of
from llamatrix.config.matrix import Profile


def all_(flags: AllFlags) -> int:
    """Measure speed cells, trials and contexts, print a summary; return the exit code.

    What a model does when it speaks for itself is no failure of the benchmark: a trial
    of it that is broken or undecided is in the tables and changes no exit code.
    """
    pending = load_pending(flags)
    if flags.dry_run:
        print(plan_text(pending))
        return 0
    context = pending.context
    without_number = sum(
        tally.without_number
        for tally in measure_speeds(pending, flags, meanwhile=fetches_of(pending))
    )
    if pending.trials:
        tally = make_trials(pending.trials, context, any_template=flags.any_template)
        without_number += tally.without_number - tally.unscripted
    contexts = ""
    if not flags.cells:
        for name in (context.profile, *context.matrix.profiles[context.profile].also):
            contexts += _search_contexts(name, context.matrix.profiles[name])
    print(tables_of(pending) + contexts if flags.full else summary_of(pending), end="")
    return NOT_ALL_NUMBERS if without_number else 0


def _search_contexts(name: str, profile: Profile) -> str:
    """Search the largest context of a profile's models, where it says up to which."""
    return "".join(
        search_context(
            ContextFlags(
                profile=name,
                model=key,
                max_context=profile.max_context or 0,
                budget="5m",
            )
        )
        for key in (profile.models if profile.max_context else ())
    )
