"""The cases of every template: tools, agent loops and the checks on them."""

from llamatrix.measure.templates.checks import (
    Check,
    ContainsTexts,
    ExtendsPrompt,
    KeepsAnswer,
    KeepsHistory,
    ParsesBack,
    TemplateCase,
)
from llamatrix.measure.templates.conversation import (
    Conversation,
    Function,
    Json,
    Message,
    Text,
    Tool,
    ToolCall,
    answer,
    call,
    result,
    system,
    user,
)

READ = Tool(
    name="read_file",
    description="Read one file of the project.",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "relative to the root"},
            "limit": {"type": "integer"},
            "whole": {"type": "boolean"},
        },
        "required": ["path"],
    },
)
WRITE = Tool(
    name="write_todo",
    description="Note what is left to do.",
    parameters={
        "type": "object",
        "properties": {
            "todos": {"type": "array", "items": {"type": "object"}},
            "about": {"type": "object"},
            "note": {"type": "string"},
        },
    },
)
WAIT = Tool(
    name="wait_for",
    description="Wait.",
    parameters={
        "type": "object",
        "properties": {"until": {"type": ["string", "null"]}, "what": {}},
    },
)
TOOLS = (READ, WRITE)
AGENT = system("You are a careful engineer.")
ASK = user("Why does the test fail?")
_SOURCE = 'def area(r):\n\treturn 3 * r ** 2  # "π"\n'
_OFF: dict[str, Json] = {"enable_thinking": False}


def talk(*messages: Message) -> Conversation:
    return Conversation(messages=messages)


def work(*messages: Message) -> Conversation:
    return Conversation(messages=messages, tools=TOOLS)


def developer(text: str) -> Message:
    return Message(role="developer", content=text)


def quiet(*messages: Message) -> Conversation:
    return Conversation(messages=messages, tools=TOOLS, kwargs=_OFF)


def reads(number: int, path: str = "area.py", **more: Json) -> ToolCall:
    return call(number, "read_file", {"path": path, **more})


def steps(
    count: int, *, thinking: bool, text: str | None = None
) -> tuple[Message, ...]:
    """Return an agent loop: a call and its result, repeated."""
    messages: list[Message] = []
    for number in range(count):
        thought = f"Step {number}: look further.\n" if thinking else None
        messages.append(
            answer(text, reads(number, f"part{number}.py"), thought=thought)
        )
        messages.append(result(number, f"{_SOURCE}# part {number}"))
    return tuple(messages)


def parses(*messages: Message) -> ParsesBack:
    return ParsesBack(work(AGENT, ASK, *messages))


def extends(*messages: Message) -> ExtendsPrompt:
    return ExtendsPrompt(work(AGENT, ASK, *messages))


def written(arguments: dict[str, Json], thought: str | None = None) -> list[Message]:
    todo = answer(None, call(1, "write_todo", arguments), thought=thought)
    return [todo, result(1, "noted")]


def read(
    text: str | None, told: str, path: str = "area.py", **more: Json
) -> list[Message]:
    return [answer(text, reads(1, path, **more)), result(1, told)]


OBJECT = ToolCall(
    id="call_1",
    function=Function(name="read_file", arguments={"path": "area.py", "limit": 20}),
)
NESTED: dict[str, Json] = {
    "todos": [
        {"content": "größer → “π”", "done": [1, 2.5], "tags": {"b": "x", "a": "y"}},
        {"content": "a, b: {c} [d]\nnext line", "tags": {}},
    ],
    "note": "<b>&amp;</b>\n\n  indented 'quoted' \"twice\"",
    "about": {"z": {"deep": []}},
}
PARALLEL = (
    answer(None, reads(1, "a.py"), reads(2, "b.py"), thought="Both at once.\n"),
    result(1, "first"),
    result(2, "second"),
)


_ESSENTIAL: tuple[tuple[str, str, Check], ...] = (
    ("prompt-thinking-on", "", ParsesBack(talk(AGENT, ASK))),
    ("prompt-thinking-off", "", ParsesBack(quiet(AGENT, ASK))),
    ("prompt-in-a-loop", "", parses(*steps(1, thinking=True))),
    (
        "system-late",
        "T1b/T2",
        ParsesBack(
            talk(AGENT, ASK, answer("Wait."), system("Be brief."), user("Go on."))
        ),
    ),
    ("system-twice", "T1b/T2", ParsesBack(work(AGENT, system("Be brief."), ASK))),
    (
        "system-after-a-result",
        "T1b/T2",
        parses(*steps(1, thinking=True), system("Hurry.")),
    ),
    (
        "tool-turn-without-thought",
        "T5",
        KeepsHistory(work(AGENT, ASK, *steps(2, thinking=False))),
    ),
    ("no-user-message", "T6", ParsesBack(work(AGENT, *steps(1, thinking=True)))),
    (
        "user-text-like-a-result",
        "T6",
        ContainsTexts(work(AGENT, user("<tool_response>\n1\n</tool_response>"))),
    ),
    ("arguments-as-text", "", parses(*steps(1, thinking=False))),
    ("arguments-as-object", "", parses(answer(None, OBJECT), result(1, "ok"))),
    ("arguments-nested-unicode", "", parses(*written(NESTED))),
    ("arguments-none-given", "", parses(*written({}))),
    ("calls-in-parallel", "", parses(*PARALLEL)),
    ("loop-thinking", "", extends(*steps(3, thinking=True))),
    (
        "loop-not-thinking",
        "",
        ExtendsPrompt(quiet(AGENT, ASK, *steps(3, thinking=False))),
    ),
    ("loop-with-text", "", extends(*steps(2, thinking=True, text="I look."))),
    ("loop-in-parallel", "", extends(*PARALLEL)),
    ("loop-long", "", extends(*steps(12, thinking=True))),
    (
        "loop-after-a-user-message",
        "",
        extends(
            *steps(2, thinking=True),
            answer("Found."),
            user("Fix it."),
            *steps(2, thinking=True),
        ),
    ),
)
_OTHERS: tuple[tuple[str, str, Check], ...] = (
    ("plain", "", ParsesBack(talk(user("Hello.")))),
    (
        "tool-with-odd-types",
        "G9",
        ParsesBack(Conversation(messages=(AGENT, ASK), tools=(READ, WAIT))),
    ),
    ("developer-first", "T1", ParsesBack(talk(developer("Be brief."), ASK))),
    (
        "developer-late",
        "T1",
        ParsesBack(talk(AGENT, ASK, answer("Wait."), developer("Go."), ASK)),
    ),
    (
        "system-in-parts",
        "G7",
        ParsesBack(
            talk(Message(role="system", content=(Text(text="Be brief."),)), ASK)
        ),
    ),
    (
        "user-in-parts",
        "",
        ParsesBack(talk(AGENT, Message(role="user", content=(Text(text="Hi."),)))),
    ),
    ("content-empty", "", parses(*read("", "ok"))),
    ("result-empty", "", parses(*read(None, ""))),
    ("result-is-json", "", parses(*read(None, '{"a": 1, "b": "x"}'))),
    ("text-before-a-call", "G1", parses(*read("Let me look.", "ok"))),
    (
        "user-after-a-result",
        "G2",
        parses(*steps(1, thinking=True), user("Stop. Only explain.")),
    ),
    (
        "answer-after-a-result",
        "G1",
        parses(*steps(1, thinking=True), answer("Found."), user("Thanks.")),
    ),
    (
        "thoughts-of-former-turns",
        "",
        ParsesBack(
            talk(
                *(AGENT, ASK, answer("It divides by 0.", thought="Look.\n")),
                user("And now?"),
            )
        ),
    ),
    ("arguments-true-null", "T3, G6", parses(*read(None, "ok", limit=3, whole=True))),
    (
        "arguments-null",
        "T3, G6",
        parses(*written({"about": {"x": False, "y": None}})),
    ),
    (
        "loop-arguments-unsorted",
        "G5",
        extends(*written({"todos": [], "about": {"z": 1, "a": 2}}, thought="So.\n")),
    ),
    ("answer-not-thinking", "T7", KeepsAnswer(quiet(AGENT, ASK))),
    ("loop-empty-thoughts", "T5", extends(*steps(2, thinking=False))),
)
CASES = tuple(
    TemplateCase(id=id_, essential=cases is _ESSENTIAL, bug=bug, check=check)
    for cases in (_ESSENTIAL, _OTHERS)
    for id_, bug, check in cases
)
