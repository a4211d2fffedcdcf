"""`invoke regress` as a user writes it: words to a request, the answer to files."""

from pathlib import Path

from llamatrix.commands.regress.agent.options import answer_agent, refuse_agents
from llamatrix.commands.regress.arms import METRICS, Asked, parse_metrics
from llamatrix.commands.regress.command import regress
from llamatrix.commands.regress.delivery import budget_of, deliver, require_deliverable
from llamatrix.commands.regress.flags import Flags
from llamatrix.commands.regress.replay_case import REPLAY_METRICS
from llamatrix.commands.regress.replay_command import replay
from llamatrix.commands.regress.request import Request
from llamatrix.commands.verdict import parse_margin
from llamatrix.config.context import own_folder
from llamatrix.errors import MatrixError
from llamatrix.report.regress import regress_markdown, regress_text
from llamatrix.report.regress_files import regress_json, regress_junit
from llamatrix.stats.pairs import Arm

_ORDER = "tg,pp"


def answer(flags: Flags) -> int:
    """Compare, print, write the files asked for; return the verdict's exit code."""
    require_deliverable(flags)
    if flags.agent:
        return answer_agent(flags)
    refuse_agents(flags)
    request = _request(flags)
    found = replay(request) if request.replay else regress(request)
    if found is None:
        return 0
    deliver(flags, junit=regress_junit(found), markdown=regress_markdown(found))
    print(regress_json(found) if flags.json else regress_text(found).rstrip())
    return found.overall.verdict.exit_code


def _request(flags: Flags) -> Request:
    budget_s = budget_of(flags)
    _refuse_mixed(flags)
    baseline = Asked(
        pin=flags.baseline,
        build=flags.baseline_build,
        sweep=flags.baseline_sweep,
        server=flags.baseline_server,
        template=flags.baseline_template,
    )
    candidate = Asked(
        pin=flags.candidate,
        build=flags.candidate_build,
        sweep=flags.candidate_sweep,
        server=flags.candidate_server,
        template=flags.candidate_template,
    )
    return Request(
        asked={Arm.BASELINE: baseline, Arm.CANDIDATE: candidate},
        profile=flags.profile,
        cells=flags.cells,
        metrics=parse_metrics(flags.metric, REPLAY_METRICS)
        if flags.replay
        else parse_metrics(flags.metric or _ORDER, METRICS),
        replay=Path(flags.replay).expanduser() if flags.replay else None,
        budget_s=budget_s,
        margin=parse_margin(flags.margin),
        weights_dir=own_folder(flags.weights_dir),
        tolerated_percent=flags.max_background_load,
        again=flags.again,
        dry_run=flags.dry_run,
    )


def _refuse_mixed(flags: Flags) -> None:
    """Sweeps are llama-bench's; servers and their templates are those of replays."""
    kind, remedy = "llama-bench has", "give a recorded session as --replay"
    if flags.replay:
        kind, remedy = "a replay has", "--baseline-server names a server's flags"
    for arm in Arm:
        for wrong in ("sweep",) if flags.replay else ("server", "template"):
            if getattr(flags, f"{arm}_{wrong}"):
                raise MatrixError(f"--{arm}-{wrong}: {kind} no {wrong}; {remedy}")
