"""The kinds of checks: each returns a problem of one rendering, or None."""

from dataclasses import dataclass
from typing import Protocol

from msgspec import Struct

from llamatrix.measure.templates.conversation import (
    Conversation,
    Family,
    FormatError,
    answer,
    difference,
    expected_prompt,
    user,
)
from llamatrix.measure.templates.render import Renderer


class Check(Protocol):
    def problem(self, family: Family, renderer: Renderer) -> str | None:
        """Say what is wrong with a rendering; RenderError where there is none."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateCase:
    id: str
    essential: bool
    bug: str
    """Its number in `templates/README.md`; empty for cases that were never broken."""
    check: Check


class CaseResult(Struct, frozen=True, kw_only=True):
    id: str
    essential: bool
    passed: bool
    reason: str
    """Empty where it passed."""
    bug: str = ""


class Conformance(Struct, frozen=True, kw_only=True):
    template: str
    """Its name."""
    template_sha256: str
    pin: str
    cases: tuple[CaseResult, ...]

    @property
    def essentials_passed(self) -> bool:
        return all(case.passed for case in self.cases if case.essential)

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        return tuple(case for case in self.cases if not case.passed)


@dataclass(frozen=True, slots=True)
class ParsesBack:
    """The prompt parses back to the messages, in the family's format."""

    conversation: Conversation

    def problem(self, family: Family, renderer: Renderer) -> str | None:
        try:
            prompt = renderer.render(self.conversation)
            parsed = family.parse(prompt, self.conversation)
        except FormatError as error:
            return str(error)
        return difference(parsed, expected_prompt(self.conversation, family))


@dataclass(frozen=True, slots=True)
class ContainsTexts:
    """The conversation renders, and the prompt contains every text."""

    conversation: Conversation

    def problem(self, family: Family, renderer: Renderer) -> str | None:
        prompt = renderer.render(self.conversation)
        for message in self.conversation.messages:
            if message.text not in prompt:
                return f"not in the prompt: {message.text!r}"
        if not prompt.endswith(family.opening(self.conversation)):
            return f"ends with {prompt[-60:]!r}"
        return None


@dataclass(frozen=True, slots=True)
class ExtendsPrompt:
    """Each prompt of an agent loop begins with the previous prompt and its reply.

    Otherwise the server processes the complete loop again at every step.
    """

    loop: Conversation
    """Ends with a tool result."""

    def problem(self, family: Family, renderer: Renderer) -> str | None:
        messages = self.loop.messages
        steps = [
            index
            for index, message in enumerate(messages)
            if message.role == "assistant"
        ]
        for step, following in zip(steps, [*steps[1:], len(messages)], strict=True):
            if any(message.role == "user" for message in messages[step:following]):
                continue  # another loop begins: earlier thoughts are dropped
            reply = family.reply(messages[step], self.loop)
            before = renderer.render(self.loop.until(step)) + reply
            after = renderer.render(self.loop.until(following))
            if problem := _divergence(before, after):
                return f"step {step}: {problem}"
        return None


@dataclass(frozen=True, slots=True)
class KeepsHistory:
    """The conversation renders the same before and after the next user message."""

    conversation: Conversation
    """Contains nothing that the format drops by its own rules."""

    def problem(self, family: Family, renderer: Renderer) -> str | None:
        later = self.conversation.then(answer("Done."), user("And now?"))
        before = renderer.render(self.conversation)
        before = before.removesuffix(family.opening(self.conversation))
        return _divergence(before, renderer.render(later))


@dataclass(frozen=True, slots=True)
class KeepsAnswer:
    """A plain answer stays as it was generated when the user continues."""

    conversation: Conversation

    def problem(self, family: Family, renderer: Renderer) -> str | None:
        message = answer("It is done.")
        later = self.conversation.then(message, user("Thanks. More?"))
        before = renderer.render(self.conversation)
        before += family.reply(message, self.conversation)
        return _divergence(before, renderer.render(later))


def _divergence(before: str, after: str) -> str | None:
    if after.startswith(before):
        return None
    pairs = zip(before, after, strict=False)
    at = next(
        (index for index, (old, new) in enumerate(pairs) if old != new),
        min(len(before), len(after)),
    )
    return (
        f"diverges after {at} characters: {before[at : at + 40]!r} became "
        f"{after[at : at + 40]!r}"
    )
