"""Cases for a running server: its switches, its refusals, its parser.

Parser cases pass the text that a model would generate through the server's chat parser.
Random weights never generate it, so the server is forced to: by a grammar that allows
nothing else (refused together with tools), or as the prefill of a request to be continued
(new servers parse it, old ones refuse it; then a single forced call must do).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from msgspec import Struct, field

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
_BAD_REQUEST = 400
_PIXEL = "data:image/png;base64,iVBORw0KGgo="
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


def server_cases(
    family: Family,
    site: Site,
    kwargs: Mapping[str, Json],
    *,
    tokenize: Callable[[str], Sequence[int]],
) -> Iterator[CaseResult]:
    """Check the server; `kwargs` are the model's own template switches."""
    yield _result("switches", switches_problem(site, kwargs), essential=True)
    prefill = Conversation(messages=(user("Hello."), answer("Well,")))
    yield _result("answer-begun", _refusal(site, prefill), bug="T4")
    yield _result("image-refused", _image_problem(site))
    if not family.end:
        return  # the text of a reply is unknown
    untestable = False
    for name, check in PARSER_CHECKS:
        try:
            problem = check.problem(family, site, tokenize)
        except UntestableError:
            untestable = True
            continue
        except (NoAnswerError, WrongAnswerError) as error:
            problem = str(error)
        yield _result(name, problem)
    if untestable:
        yield _result("parser-forced-call", forced_call_problem(site, tokenize))


def _result(
    name: str, problem: str | None, *, essential: bool = False, bug: str = ""
) -> CaseResult:
    return CaseResult(
        id=name,
        essential=essential,
        passed=problem is None,
        reason=problem or "",
        bug=bug,
    )


def switches_problem(site: Site, kwargs: Mapping[str, Json]) -> str | None:
    """Report switches of the wrong type, which servers and templates may misread."""
    thinking = kwargs.get("enable_thinking", True)
    if not isinstance(thinking, bool):
        return f"enable_thinking is {thinking!r}, not true or false"
    return _refusal(site, Conversation(messages=(user("Hello."),), kwargs=dict(kwargs)))


def _refusal(site: Site, conversation: Conversation) -> str | None:
    try:
        ServerRenderer(site).render(conversation)
    except RenderError as error:
        return str(error)
    return None


def _image_problem(site: Site) -> str | None:
    """Without a projector, an image must not be dropped silently."""
    image = Image(image_url=ImageUrl(url=_PIXEL))
    message = Message(role="user", content=(Text(text="What is this?"), image))
    reply = site.post(
        "/v1/chat/completions",
        {**Conversation(messages=(message,)).body(), "max_tokens": 1},
        timeout_s=_ANSWER_TIMEOUT_S,
    )
    if reply.ok:
        return "an image was accepted although the model cannot see it"
    return None if "image" in reply.text else f"refused without a reason: {reply.text}"


class UntestableError(Exception):
    """The server offers no way to test this."""


@dataclass(frozen=True, slots=True)
class ParserCheck:
    """The server parses a generated message back to the original."""

    message: Message
    thinking: bool = True

    def problem(
        self, family: Family, site: Site, tokenize: Callable[[str], Sequence[int]]
    ) -> str | None:
        """Raise UntestableError where the server does not parse a prefill."""
        tools = (_SAY,) if self.message.tool_calls else ()
        conversation = Conversation(
            messages=(_ASK,), tools=tools, kwargs={"enable_thinking": self.thinking}
        )
        body = conversation.body()
        if tools:
            quiet = Conversation(messages=(_ASK,), kwargs={"enable_thinking": False})
            prefill = answer(
                family.reply(self.message, quiet).removesuffix(family.end),
                thought=self.message.reasoning_content,
            )
            end = tokenize(family.end.strip())[-1]
            body |= conversation.then(prefill).body() | {
                "max_tokens": 1,
                "logit_bias": [[end, 100]],
                "parallel_tool_calls": True,
            }
        else:
            text = family.reply(self.message, conversation).removesuffix(family.end)
            escaped = text.replace("\\", "\\\\").replace('"', '\\"')
            literal = '"' + escaped.replace("\n", "\\n") + '"'
            body |= {"grammar": f"root ::= {literal}", "max_tokens": 500}
        reply = site.post("/v1/chat/completions", body, timeout_s=_ANSWER_TIMEOUT_S)
        if tools and (reply.status == _BAD_REQUEST or "tool_calls" not in reply.text):
            raise UntestableError
        return _difference(reply, self.message)


def _difference(reply: Reply, expected: Message) -> str | None:
    if not reply.ok:
        return f"HTTP {reply.status}: {reply.text[:200]}"
    parsed = reply.read(_Answer).choices[0].message
    calls = [
        (call.function.name, json.loads(call.function.arguments))
        for call in parsed.tool_calls
    ]
    expected_calls = [
        (call.function.name, call.arguments) for call in expected.tool_calls
    ]
    pairs: tuple[tuple[str, Json | object, Json | object], ...] = (
        (
            "thought",
            (parsed.reasoning_content or "").strip(),
            expected.reasoning_content or "",
        ),
        ("text", (parsed.content or "").strip(), expected.text),
        ("calls", calls, expected_calls),
    )
    for part, got, want in pairs:
        if got != want:
            return f"{part}: got {got!r}, not {want!r}"
    return None


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


def forced_call_problem(
    site: Site, tokenize: Callable[[str], Sequence[int]]
) -> str | None:
    """Check a call for which the server's own grammar leaves no choice."""
    conversation = Conversation(
        messages=(_ASK,), tools=(_LEVEL,), kwargs={"enable_thinking": False}
    )
    # `</…` would omit the argument
    slash = tokenize("/")[-1]
    body = conversation.body() | {
        "tool_choice": "required",
        "max_tokens": 120,
        "seed": 1,
        "logit_bias": [[slash, -50]],
    }
    reply = site.post("/v1/chat/completions", body, timeout_s=_ANSWER_TIMEOUT_S)
    if not reply.ok:
        return f"HTTP {reply.status}: {reply.text[:200]}"
    calls = reply.read(_Answer).choices[0].message.tool_calls
    if [call.function.name for call in calls] != [_LEVEL.name]:
        return f"one call of {_LEVEL.name} was forced: {reply.text[:300]}"
    try:
        arguments = json.loads(calls[0].function.arguments)
    except json.JSONDecodeError:
        return f"arguments are not JSON: {calls[0].function.arguments!r}"
    # For Gemma b8643 enforces neither the argument nor its type: none, or any text other
    # than the number's, is what random weights generated.
    level = arguments.get("level") if isinstance(arguments, dict) else None
    random_text = isinstance(level, str) and level != "42"
    if arguments in ({}, {"level": 42}) or (
        random_text and arguments == {"level": level}
    ):
        return None
    return f"the arguments are {arguments}"
