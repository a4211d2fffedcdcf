"""Kinds of cases: each says of one rendering what is wrong with it, or nothing."""

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
from llamatrix.measure.templates.render import Renderer, RenderError


class Check(Protocol):
    def complaint(self, family: Family, renderer: Renderer) -> str | None:
        """What is wrong, in words; None where the demand is met."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class TemplateCase:
    id: str
    essential: bool
    bug: str
    """As `templates/README.md` numbers it; empty for what was never broken."""
    trial: Check


class CaseResult(Struct, frozen=True, kw_only=True):
    id: str
    essential: bool
    passed: bool
    reason: str
    """Empty where it passed."""
    bug: str = ""


class Conformance(Struct, frozen=True, kw_only=True):
    template: str
    """Its name, for people."""
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
    """The prompt reads back as what was said, in the family's format."""

    conversation: Conversation

    def complaint(self, family: Family, renderer: Renderer) -> str | None:
        try:
            prompt = renderer.render(self.conversation)
            found = family.read(prompt, self.conversation)
        except (RenderError, FormatError) as error:
            return str(error)
        return difference(found, expected_prompt(self.conversation, family))


@dataclass(frozen=True, slots=True)
class ContainsTexts:
    """A prompt comes of it and holds every text, whatever it then reads as."""

    conversation: Conversation

    def complaint(self, family: Family, renderer: Renderer) -> str | None:
        try:
            prompt = renderer.render(self.conversation)
        except RenderError as error:
            return str(error)
        missing = [
            said.text for said in self.conversation.messages if said.text not in prompt
        ]
        if missing:
            return f"not in the prompt: {missing[0]!r}"
        if not prompt.endswith(family.opening(self.conversation)):
            return f"ends with {prompt[-60:]!r}"
        return None


@dataclass(frozen=True, slots=True)
class ExtendsPrompt:
    """Each prompt of an agent loop begins with the one before it plus its reply.

    Otherwise the server processes the whole loop anew at every step.
    """

    loop: Conversation
    """Ends with a tool result."""

    def complaint(self, family: Family, renderer: Renderer) -> str | None:
        messages = self.loop.messages
        steps = [i for i, said in enumerate(messages) if said.role == "assistant"]
        try:
            for step, following in zip(steps, [*steps[1:], len(messages)], strict=True):
                if any(said.role == "user" for said in messages[step:following]):
                    continue  # another loop begins: former thoughts are dropped
                reply = family.reply(messages[step], self.loop)
                before = renderer.render(self.loop.until(step)) + reply
                after = renderer.render(self.loop.until(following))
                if not after.startswith(before):
                    return f"step {step}: {_parting(before, after)}"
        except RenderError as error:
            return str(error)
        return None


@dataclass(frozen=True, slots=True)
class KeepsHistory:
    """What was said reads the same before and after the next user message."""

    conversation: Conversation
    """Nothing in it is to be dropped by the format's own rule."""

    def complaint(self, family: Family, renderer: Renderer) -> str | None:
        later = self.conversation.then(answer("Done."), user("And now?"))
        try:
            before = renderer.render(self.conversation)
            after = renderer.render(later)
        except RenderError as error:
            return str(error)
        before = before.removesuffix(family.opening(self.conversation))
        return None if after.startswith(before) else _parting(before, after)


@dataclass(frozen=True, slots=True)
class KeepsAnswer:
    """A plain answer stays as it was generated when the user goes on."""

    conversation: Conversation

    def complaint(self, family: Family, renderer: Renderer) -> str | None:
        said = answer("It is done.")
        try:
            before = renderer.render(self.conversation)
            after = renderer.render(self.conversation.then(said, user("Thanks. More?")))
        except RenderError as error:
            return str(error)
        before += family.reply(said, self.conversation)
        return None if after.startswith(before) else _parting(before, after)


def _parting(before: str, after: str) -> str:
    pairs = zip(before, after, strict=False)
    at = next(
        (i for i, (a, b) in enumerate(pairs) if a != b), min(len(before), len(after))
    )
    return (
        f"parts after {at} characters: {before[at : at + 40]!r} was there, "
        f"{after[at : at + 40]!r} comes"
    )
