"""`invoke all`: speed, trials and tables in one command."""

from collections.abc import Iterator

from llamatrix.commands.agent import make_trials
from llamatrix.commands.bench import NOT_ALL_NUMBERS, measure_speeds
from llamatrix.commands.context import context as search_context
from llamatrix.commands.flags import AllFlags, ContextFlags
from llamatrix.commands.meanwhile import fetches_of
from llamatrix.commands.pending import load_pending
from llamatrix.commands.plan import plan_text
from llamatrix.commands.tabulate import summary_of, tables_of
from llamatrix.config.context import Context


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
    contexts = "".join(map(search_context, searches_of(context, flags)))
    print(tables_of(pending) + contexts if flags.full else summary_of(pending), end="")
    return NOT_ALL_NUMBERS if without_number else 0


def searches_of(context: Context, flags: AllFlags) -> Iterator[ContextFlags]:
    """The largest contexts to search: of a profile's models, where it says up to which."""
    profiles = context.matrix.profiles
    names = (context.profile, *profiles[context.profile].also)
    for name in () if flags.cells else names:
        if max_context := profiles[name].max_context:
            for key in profiles[name].models:
                yield ContextFlags(
                    profile=name,
                    model=flags.model or key,
                    pin=flags.pin,
                    weights_dir=flags.weights_dir,
                    max_context=max_context,
                    budget="5m",
                )
