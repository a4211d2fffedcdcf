"""What the conversations are made of: tools, questions, agent loops."""

from llamatrix.measure.templates.conversation import (
    Conversation,
    Function,
    Json,
    Message,
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


def quiet(*messages: Message) -> Conversation:
    return Conversation(messages=messages, tools=TOOLS, kwargs=_OFF)


def reads(number: int, path: str = "area.py", **more: Json) -> ToolCall:
    return call(number, "read_file", {"path": path, **more})


def steps(
    count: int, *, thinking: bool, text: str | None = None
) -> tuple[Message, ...]:
    """One agent loop: a call and its result, over and over."""
    said: list[Message] = []
    for number in range(count):
        thought = f"Step {number}: look further.\n" if thinking else None
        said.append(answer(text, reads(number, f"part{number}.py"), thought=thought))
        said.append(result(number, f"{_SOURCE}# part {number}"))
    return tuple(said)


def written(arguments: dict[str, Json]) -> Conversation:
    return work(
        AGENT,
        ASK,
        answer(None, call(1, "write_todo", arguments)),
        result(1, "noted"),
    )


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
