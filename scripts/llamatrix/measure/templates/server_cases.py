"""Cases that only a server can answer: its switches, its refusals, its parser."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from msgspec import Struct, field

from llamatrix.engines.llama_cpp.server import tokenize
from llamatrix.measure.templates.checks import CaseResult
from llamatrix.measure.templates.conversation import (
    Conversation,
    Family,
    Image,
    ImageUrl,
    Json,
    Message,
    Text,
    Tool,
    answer,
    call,
    user,
)
from llamatrix.measure.templates.render import RenderError, ServerRenderer
from llamatrix.web import NoAnswerError, Reply, Site, WrongAnswerError

_ANSWER_TIMEOUT_S = 120.0
_SAY = Tool(
    name="say",
    description="Say it.",
    parameters={
        "type": "object",
        "properties": {"text": {"type": "string"}, "loud": {"type": "boolean"}},
        "required": ["text"],
    },
)
_LEVEL = Tool(
    name="set_level",
    description="Set it.",
    parameters={
        "type": "object",
        "properties": {"level": {"type": "integer", "enum": [42]}},
        "required": ["level"],
    },
)
_ASK = user("Go on.")


class _Function(Struct):
    name: str
    arguments: str


class _Call(Struct):
    function: _Function


class _Message(Struct):
    content: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] = field(default_factory=list)


class _Choice(Struct):
    message: _Message


class _Answer(Struct):
    choices: list[_Choice]


class UntestableError(Exception):
    """The server offers no way to try it."""


@dataclass(frozen=True, slots=True)
class ParserCheck:
    """One answer, and how the server is made to hold it."""

    message: Message
    thinking: bool = True

    def complaint(self, family: Family, site: Site) -> str | None:
        """Raise CannotTellError where the server does not parse what it did not generate."""
        tools = (_SAY,) if self.message.tool_calls else ()
        asked = Conversation(
            messages=(_ASK,), tools=tools, kwargs={"enable_thinking": self.thinking}
        )
        body = asked.body()
        if tools:
            quiet = Conversation(messages=(_ASK,), kwargs={"enable_thinking": False})
            begun = answer(
                family.reply(self.message, quiet).removesuffix(family.end),
                thought=self.message.reasoning_content,
            )
            body |= asked.then(begun).body() | _say_no_more(family, site)
        else:
            text = family.reply(self.message, asked).removesuffix(family.end)
            body |= {"grammar": f"root ::= {_literal(text)}", "max_tokens": 500}
        reply = site.post("/v1/chat/completions", body, timeout_s=_ANSWER_TIMEOUT_S)
        if tools and (reply.status == _BAD_REQUEST or "tool_calls" not in reply.text):
            raise UntestableError
        return _difference(reply, self.message)


_BAD_REQUEST = 400


@dataclass(frozen=True, slots=True)
class ForcedCall:
    """A call that the server's own grammar leaves no choice in."""

    def complaint(self, site: Site) -> str | None:
        asked = Conversation(
            messages=(_ASK,), tools=(_LEVEL,), kwargs={"enable_thinking": False}
        )
        slash = tokenize(site, "/", timeout_s=_ANSWER_TIMEOUT_S)[
            -1
        ]  # `</…` would leave the argument out
        body = asked.body() | {
            "tool_choice": "required",
            "max_tokens": 120,
            "seed": 1,
            "logit_bias": [[slash, -50]],
        }
        reply = site.post("/v1/chat/completions", body, timeout_s=_ANSWER_TIMEOUT_S)
        if not reply.ok:
            return f"HTTP {reply.status}: {reply.text[:200]}"
        calls = reply.read(_Answer).choices[0].message.tool_calls
        if [one.function.name for one in calls] != [_LEVEL.name]:
            return f"one call of {_LEVEL.name} was forced: {reply.text[:300]}"
        try:
            arguments = json.loads(calls[0].function.arguments)
        except json.JSONDecodeError:
            return f"arguments are no JSON: {calls[0].function.arguments!r}"
        if not _as_forced(arguments):
            return f"arguments came back as {arguments}"
        return None


def _as_forced(arguments: Json) -> bool:
    """The number that was forced, not its text.

    For Gemma b8643 insists neither on the argument nor on its type: none, or any other
    text, is what random weights chose to say.
    """
    if arguments in ({}, {"level": 42}):
        return True
    level = arguments.get("level") if isinstance(arguments, dict) else None
    return arguments == {"level": level} and isinstance(level, str) and level != "42"


PARSER_CHECKS = (
    ("parser-thought", ParserCheck(answer("The answer.", thought="I think."))),
    ("parser-not-thinking", ParserCheck(answer("The answer."), thinking=False)),
    (
        "parser-call",
        ParserCheck(answer(None, call(1, "say", {"text": "x"}), thought="I think.")),
    ),
    (
        "parser-text-and-calls",
        ParserCheck(
            answer(
                "I say it twice.",
                call(1, "say", {"text": "line 1\n  “line 2”\n", "loud": True}),
                call(2, "say", {"text": '{"a": [1]}'}),
                thought="I think.",
            )
        ),
    ),
)


def _say_no_more(family: Family, site: Site) -> dict[str, object]:
    end = tokenize(site, family.end.strip(), timeout_s=_ANSWER_TIMEOUT_S)[-1]
    return {"max_tokens": 1, "logit_bias": [[end, 100]], "parallel_tool_calls": True}


def _difference(reply: Reply, wanted: Message) -> str | None:
    if not reply.ok:
        return f"HTTP {reply.status}: {reply.text[:200]}"
    got = reply.read(_Answer).choices[0].message
    calls = [
        (one.function.name, json.loads(one.function.arguments))
        for one in got.tool_calls
    ]
    asked = [(one.function.name, one.arguments) for one in wanted.tool_calls]
    pairs: tuple[tuple[str, Json | object, Json | object], ...] = (
        (
            "thought",
            (got.reasoning_content or "").strip(),
            wanted.reasoning_content or "",
        ),
        ("text", (got.content or "").strip(), wanted.text),
        ("calls", calls, asked),
    )
    for what, came, should in pairs:
        if came != should:
            return f"{what}: {came!r} came back, not {should!r}"
    return None


def _literal(text: str) -> str:
    """A string of llama.cpp's grammar notation."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


_PIXEL = "data:image/png;base64,iVBORw0KGgo="


def server_cases(
    family: Family, site: Site, kwargs: Mapping[str, Json]
) -> Iterator[CaseResult]:
    """`kwargs` are the model's own switches, tried as they stand."""
    yield _result("switches", switches_complaint(site, kwargs), essential=True)
    yield _result("answer-begun", _begun_complaint(site), essential=False, bug="T4")
    yield _result("image-refused", _image_complaint(site), essential=False)
    yield from _parser_cases(family, site)


def switches_complaint(site: Site, kwargs: Mapping[str, Json]) -> str | None:
    """A switch of the wrong type is told; servers and templates may take it wrongly."""
    thinking = kwargs.get("enable_thinking", True)
    if not isinstance(thinking, bool):
        return f"enable_thinking is {thinking!r}, not true or false"
    asked = Conversation(messages=(user("Hello."),), kwargs=dict(kwargs))
    return _refusal(site, asked)


def _begun_complaint(site: Site) -> str | None:
    return _refusal(site, Conversation(messages=(user("Hello."), answer("Well,"))))


def _image_complaint(site: Site) -> str | None:
    """Without a projector an image must not be dropped in silence."""
    picture = Image(image_url=ImageUrl(url=_PIXEL))
    said = Message(role="user", content=(Text(text="What is this?"), picture))
    reply = site.post(
        "/v1/chat/completions",
        {**Conversation(messages=(said,)).body(), "max_tokens": 1},
        timeout_s=_ANSWER_TIMEOUT_S,
    )
    if reply.ok:
        return "an image was taken although nothing can see it"
    return None if "image" in reply.text else f"refused, but not clearly: {reply.text}"


def _refusal(site: Site, conversation: Conversation) -> str | None:
    try:
        ServerRenderer(site).render(conversation)
    except RenderError as error:
        return str(error)
    return None


def _parser_cases(family: Family, site: Site) -> Iterator[CaseResult]:
    """A case that this server offers no way to try is left out."""
    untold = False
    for name, trial in PARSER_CHECKS:
        try:
            complaint = trial.complaint(family, site)
        except UntestableError:
            untold = True
            continue
        except (NoAnswerError, WrongAnswerError) as error:
            complaint = str(error)
        yield _result(name, complaint, essential=False)
    if untold:
        complaint = ForcedCall().complaint(site)
        yield _result("parser-forced-call", complaint, essential=False)


def _result(
    name: str, complaint: str | None, *, essential: bool, bug: str = ""
) -> CaseResult:
    return CaseResult(
        id=name,
        essential=essential,
        passed=complaint is None,
        reason=complaint or "",
        bug=bug,
    )
