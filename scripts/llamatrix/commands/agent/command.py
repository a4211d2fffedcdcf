"""`invoke agent`, and the agent's half of `invoke all`."""

import time

from llamatrix.commands.agent.conduct import TrialTally, conduct_trials
from llamatrix.commands.session import Session
from llamatrix.progress import say
from llamatrix.units import duration_text


def try_session(session: Session) -> TrialTally:
    """Make the trials a session lacks, and say what was done."""
    begin = time.monotonic()
    tally = conduct_trials(session)
    say(f"{tally.summary} ({duration_text(time.monotonic() - begin)})")
    return tally
