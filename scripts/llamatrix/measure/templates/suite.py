"""All cases for one template at one pin, for `invoke template-check`."""

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

FAMILIES: tuple[Family, ...] = (Qwen35(), Gemma4())


class UnknownFamilyError(MeasureError):
    """The template belongs to no known family."""


def check_template(
    launch: Launch, *, name: str, pin: str, log: Path, timeouts: Timeouts | None = None
) -> Conformance:
    """Serve the weights with the template and check every case.

    Any weights of the family are suitable, since no case depends on the model's answers.
    A template that llama-server refuses is a result; other startup failures raise.
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
            renderers: list[Renderer] = [jinja, ServerRenderer(serving.site)]
            cases = [
                *rendered(family, renderers),
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
    """Return the family of a template by its marks."""
    for family in FAMILIES:
        if family.matches(template):
            return family
    known = ", ".join(family.name for family in FAMILIES)
    raise UnknownFamilyError(
        f"{where}: belongs to no known family ({known}); add one beside "
        "measure/templates/qwen35.py"
    )


def of_no_family(
    error: UnknownFamilyError, *, name: str, sha256: str, pin: str
) -> Conformance:
    """Return the result for a template of no known family."""
    case = CaseResult(
        id="known-format", essential=True, passed=False, reason=str(error), bug=""
    )
    return Conformance(template=name, template_sha256=sha256, pin=pin, cases=(case,))


def rendered(family: Family, renderers: Sequence[Renderer]) -> Iterator[CaseResult]:
    """Check every case with every renderer; it passes if no renderer has a problem."""
    for case in CASES:
        problems = [
            f"{renderer.name}: {problem}"
            for renderer in renderers
            if (problem := case.check.problem(family, renderer))
        ]
        yield CaseResult(
            id=case.id,
            essential=case.essential,
            passed=not problems,
            reason="; ".join(problems),
            bug=case.bug,
        )


def _not_loaded(error: StartupError) -> CaseResult:
    return CaseResult(
        id="loads",
        essential=True,
        passed=False,
        reason=f"llama-server: {error.log_line}",
    )
