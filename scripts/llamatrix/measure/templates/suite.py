"""All cases for one template at one pin: the function behind `invoke template-check`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.server import Timeouts, running
from llamatrix.engines.protocol import StartupError, StartupFailure
from llamatrix.errors import MeasureError
from llamatrix.measure.templates.cases import CASES
from llamatrix.measure.templates.checks import CaseResult, Conformance
from llamatrix.measure.templates.conversation import Family
from llamatrix.measure.templates.gemma4 import Gemma4
from llamatrix.measure.templates.qwen35 import Qwen35
from llamatrix.measure.templates.render import JinjaRenderer, Renderer, ServerRenderer
from llamatrix.measure.templates.server_cases import server_cases


class UnknownFamilyError(MeasureError):
    """No format that is known here is a template's."""


def check_template(
    launch: Launch, *, name: str, pin: str, log: Path, timeouts: Timeouts | None = None
) -> Conformance:
    """Serve the launch's weights with its template and try every case on it.

    Any weights of the family do: nothing depends on what the model says. A template
    that llama-server refuses is a result too; any other death raises.
    """
    if launch.template is None:
        raise MeasureError(f"{launch.alias}: there is no template file to check")
    sha256 = launch.template_sha256() or ""
    template = launch.template.read_text()
    family = family_of(template, where=name)
    jinja = JinjaRenderer(template)
    kwargs = launch.model.chat_template_kwargs
    plain = msgspec.structs.replace(launch.model, chat_template_kwargs={})
    try:
        with running(
            replace(launch, model=plain), log=log, timeouts=timeouts
        ) as serving:
            both: list[Renderer] = [jinja, ServerRenderer(serving.site)]
            cases = [
                *rendered(family, both),
                *server_cases(family, serving.site, kwargs),
            ]
    except StartupError as error:
        if error.failure is not StartupFailure.TEMPLATE:
            raise
        cases = [_not_loaded(error), *rendered(family, [jinja])]
    return Conformance(
        template=name, template_sha256=sha256, pin=pin, cases=tuple(cases)
    )


def family_of(template: str, *, where: str) -> Family:
    """By the marks that only one family's templates carry."""
    if "<|im_start|>" in template and "<function=" in template:
        return Qwen35()
    if "<|turn>" in template:
        return Gemma4()
    raise UnknownFamilyError(
        f"{where}: of no family whose format is known here (qwen35, gemma4); write "
        "one beside measure/templates/qwen35.py"
    )


def of_no_family(
    error: UnknownFamilyError, *, name: str, sha256: str, pin: str
) -> Conformance:
    """Say of a template whose format is not known that nothing could be proven."""
    case = CaseResult(
        id="known-format", essential=True, passed=False, reason=str(error), bug=""
    )
    return Conformance(template=name, template_sha256=sha256, pin=pin, cases=(case,))


def rendered(family: Family, renderers: Sequence[Renderer]) -> Iterator[CaseResult]:
    """Every case by every renderer: it passes where none complains."""
    for case in CASES:
        complaints = {
            renderer.name: case.trial.complaint(family, renderer)
            for renderer in renderers
        }
        told = [f"{name}: {why}" for name, why in complaints.items() if why]
        yield CaseResult(
            id=case.id,
            essential=case.essential,
            passed=not told,
            reason="; ".join(told),
            bug=case.bug,
        )


def _not_loaded(error: StartupError) -> CaseResult:
    return CaseResult(
        id="loads",
        essential=True,
        passed=False,
        reason=f"llama-server: {error.log_line}",
    )
