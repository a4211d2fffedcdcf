"""Whether the candidate's chat template works, before anything is timed with it."""

from llamatrix.commands.regress.replaying import ChangedPromptsError, Session
from llamatrix.errors import MeasureError, ServeError
from llamatrix.exclusive import exclusive
from llamatrix.measure.templates.checks import Conformance
from llamatrix.measure.templates.suite import check_template
from llamatrix.progress import say
from llamatrix.stats.pairs import Arm


def broken_template(session: Session) -> str:
    """Why the candidate is broken as it stands; empty where it is not.

    Where the arms are not the same, and their templates are files: of one inside the
    weights nothing is said. A baseline that does not serve stops the harness.
    """
    case = session.case
    if case.identical or session.launches[Arm.CANDIDATE].template is None:
        return ""
    with exclusive(session.project.cache / "measuring.lock", purpose="proving"):
        say(f"{case.id}: proving the chat template in both arms")
        baseline = _checked(session, Arm.BASELINE)
        session.prepare(Arm.BASELINE)
        try:
            candidate = _checked(session, Arm.CANDIDATE)
            if candidate and (why := newly_failing(baseline, candidate)):
                return why
            if not case.same_prompts:
                session.prepare(Arm.CANDIDATE)
        except ChangedPromptsError:
            raise
        except (MeasureError, ServeError) as error:
            text = session.bare(Arm.CANDIDATE, str(error))
            return f"the candidate's template cannot be proven: {text}"
    return ""


def newly_failing(baseline: Conformance | None, candidate: Conformance) -> str:
    """The essential cases that only the candidate fails, with their reasons."""
    before = {case.id for case in baseline.failed} if baseline else set()
    failing = [
        case for case in candidate.failed if case.essential and case.id not in before
    ]
    if not failing:
        return ""
    return "\n".join(
        [
            f"the candidate's template {candidate.template} fails essential cases of "
            "`invoke template-check`: " + ", ".join(case.id for case in failing),
            *(f"{case.id}: {case.reason[:200]}" for case in failing),
        ]
    )


def _checked(session: Session, arm: Arm) -> Conformance | None:
    launch = session.launches[arm]
    if launch.template is None:
        return None
    return check_template(
        launch,
        name=session.case.template_names[arm],
        pin=session.case.cells[arm].pin_key,
        log=session.log(arm),
        timeouts=session.timeouts,
    )
