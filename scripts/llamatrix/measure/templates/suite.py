"""All cases for one template at one pin, for `invoke template-check`."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec

from llamatrix.engines.protocol import Launch, StartupError, StartupFailure, Timeouts
from llamatrix.engines.registry import ENGINE
from llamatrix.errors import MeasureError
from llamatrix.measure.templates.cases import CASES
from llamatrix.measure.templates.checks import CaseResult, Conformance
from llamatrix.measure.templates.conversation import Family
from llamatrix.measure.templates.gemma4 import Gemma4
from llamatrix.measure.templates.generic import ESSENTIAL, Generic
from llamatrix.measure.templates.qwen35 import Qwen35
from llamatrix.measure.templates.render import (
    JinjaRenderer,
    Renderer,
    RenderError,
    ServerRenderer,
)
from llamatrix.measure.templates.server_cases import server_cases

FAMILIES: tuple[Family, ...] = (Qwen35(), Gemma4(), Generic())
"""The last one matches every template."""


def check_template(
    launch: Launch, *, name: str, pin: str, log: Path, timeouts: Timeouts | None = None
) -> Conformance:
    """Serve the weights and check every case with the template that the server uses.

    That is the launch's file, else the weights' own. No case depends on what the model
    answers. A template that llama-server refuses is a result; other startup failures raise.
    """
    plain = msgspec.structs.replace(launch.model, chat_template_kwargs={})
    try:
        with ENGINE.serve(
            replace(launch, model=plain), log=log, timeouts=timeouts
        ) as serving:
            sha256 = serving.template_sha256
            template = _template_file(launch) or serving.chat_template
            family = family_of(template)
            renderers: list[Renderer] = [ServerRenderer(serving.site)]
            if not isinstance(family, Generic):
                renderers.insert(0, JinjaRenderer(template))
            cases = [
                *rendered(family, renderers),
                *server_cases(
                    family,
                    serving.site,
                    launch.model.chat_template_kwargs,
                    tokenize=serving.tokenize,
                ),
            ]
    except StartupError as error:
        if error.failure is not StartupFailure.TEMPLATE:
            raise
        template = _template_file(launch)
        sha256 = launch.template_sha256() or ""
        reason = f"llama-server: {error.log_line}"
        cases = [CaseResult(id="loads", essential=True, passed=False, reason=reason)]
        if template:
            cases += rendered(family_of(template), [JinjaRenderer(template)])
    return Conformance(
        template=name, template_sha256=sha256, pin=pin, cases=tuple(cases)
    )


def _template_file(launch: Launch) -> str:
    return template_text(launch.template) if launch.template else ""


def template_text(path: Path) -> str:
    """Return the text of a template's file; MeasureError where it is none."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise MeasureError(f"{path}: not UTF-8: {error}; save it as UTF-8") from error


def family_of(template: str) -> Family:
    """Return the family of a template by its marks."""
    return next(
        (family for family in FAMILIES if family.matches(template)), FAMILIES[-1]
    )


def rendered(family: Family, renderers: Sequence[Renderer]) -> Iterator[CaseResult]:
    """Check every case with every renderer; it passes if no renderer has a problem."""
    for case in CASES:
        problems = []
        for renderer in renderers:
            try:
                problem = case.check.problem(family, renderer)
            except RenderError as error:
                problem = str(error)
            if problem:
                problems.append(f"{renderer.name}: {problem}")
        yield CaseResult(
            id=case.id,
            essential=case.essential
            and (case.id in ESSENTIAL or not isinstance(family, Generic)),
            passed=not problems,
            reason="; ".join(problems),
            bug=case.bug,
        )
