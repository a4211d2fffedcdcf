"""`invoke all`: speed, trials and tables in one command."""

from llamatrix.commands.agent import TrialTally, make_trials
from llamatrix.commands.bench import NOT_ALL_NUMBERS, Tally, measure_speeds
from llamatrix.commands.flags import AgentFlags
from llamatrix.commands.pending import load_pending
from llamatrix.commands.plan import plan_text
from llamatrix.commands.tabulate import tables_of


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
    without_number = sum(tally.without_number for tally in tallies)
    return NOT_ALL_NUMBERS if without_number else 0
