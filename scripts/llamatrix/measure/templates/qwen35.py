"""Qwen3.5's format: `<|im_start|>` turns, thoughts in tags, calls as XML-like text."""

import json
import re

import msgspec

from llamatrix.measure.templates.conversation import (
    Conversation,
    FormatError,
    Json,
    Message,
    ParsedMessage,
    ParsedPrompt,
    Tool,
)

_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n", re.DOTALL)
_DECLARATION = re.compile(
    r"# Tools\n\n.*?<tools>\n(?P<tools>.*?)\n</tools>.*?</IMPORTANT>(?:\n\n(?P<text>.*))?",
    re.DOTALL,
)
_THOUGHT = re.compile(r"<think>\n(.*?)\n</think>\n\n", re.DOTALL)
_CALL = re.compile(
    r"<tool_call>\n<function=([^>\n]+)>\n(.*?)</function>\n</tool_call>", re.DOTALL
)
_ARGUMENT = re.compile(r"<parameter=([^>\n]+)>\n(.*?)\n</parameter>\n", re.DOTALL)
_RESULT = re.compile(r"\n<tool_response>\n(.*?)\n</tool_response>", re.DOTALL)


class Qwen35:
    name = "qwen35"
    end = "<|im_end|>\n"
    thoughts_with_calls_only = False

    def matches(self, template: str) -> bool:
        return "<|im_start|>" in template and "<function=" in template

    def opening(self, conversation: Conversation) -> str:
        block = "<think>\n" if conversation.thinking else "<think>\n\n</think>\n\n"
        return f"<|im_start|>assistant\n{block}"

    def reply(self, message: Message, conversation: Conversation) -> str:
        thought = ""
        if conversation.thinking:
            thought = f"{(message.reasoning_content or '').strip()}\n</think>\n\n"
        text = message.text
        calls = "\n".join(
            _call_text(call.function.name, call.arguments)
            for call in message.tool_calls
        )
        gap = "\n\n" if text and calls else ""
        return f"{thought}{text}{gap}{calls}{self.end}"

    def parse(self, prompt: str, conversation: Conversation) -> ParsedPrompt:
        opening = self.opening(conversation)
        if not prompt.endswith(opening):
            raise FormatError(f"ends with {prompt[-60:]!r}, not with {opening!r}")
        messages: list[ParsedMessage] = []
        tools: frozenset[str] = frozenset()
        at, history = 0, prompt.removesuffix(opening)
        while at < len(history):
            turn = _TURN.match(history, at)
            if not turn:
                raise FormatError(f"no complete turn at {history[at : at + 60]!r}")
            role, body = turn[1], turn[2]
            if "<|im_start|>" in body:
                raise FormatError(f"a turn is not closed: {body[:60]!r}")
            if at == 0 and conversation.tools:
                tools, text = _tools_turn(role, body, conversation.tools)
                messages += [ParsedMessage(role="system", text=text)] if text else []
            else:
                messages += _turn(role, body, conversation.tools)
            at = turn.end()
        return ParsedPrompt(messages=tuple(messages), tools=tools)


def _tools_turn(
    role: str, body: str, tools: tuple[Tool, ...]
) -> tuple[frozenset[str], str]:
    declaration = _DECLARATION.fullmatch(body)
    if role != "system" or not declaration:
        raise FormatError(f"no tools are declared in the first turn: {body[:60]!r}")
    try:
        declared = [
            msgspec.json.decode(line) for line in declaration["tools"].split("\n")
        ]
    except msgspec.DecodeError as error:
        raise FormatError(f"a tool declaration is not JSON: {error}") from error
    if declared != [tool.declared() for tool in tools]:
        raise FormatError(
            f"tools are declared differently: {declaration['tools'][:200]!r}"
        )
    return frozenset(tool.name for tool in tools), declaration["text"] or ""


def _turn(role: str, body: str, tools: tuple[Tool, ...]) -> list[ParsedMessage]:
    match role:
        case "system":
            return [ParsedMessage(role="system", text=body)]
        case "user" if body.startswith("<tool_response>"):
            return _results(body)
        case "user":
            return [ParsedMessage(role="user", text=body)]
        case "assistant":
            return [_answer(body, tools)]
        case _:
            raise FormatError(f"unknown role: {role!r}")


def _results(body: str) -> list[ParsedMessage]:
    """Several results share one user turn, each on its own lines."""
    lines = f"\n{body}"
    if _RESULT.sub("", lines):
        raise FormatError(f"text between tool results: {body[:60]!r}")
    return [ParsedMessage(role="tool", text=text) for text in _RESULT.findall(lines)]


def _answer(body: str, tools: tuple[Tool, ...]) -> ParsedMessage:
    thought = _THOUGHT.match(body)
    rest = body[thought.end() :] if thought else body
    first = rest.find("<tool_call>")
    text, calls = (rest, "") if first < 0 else (rest[:first], rest[first:])
    if calls and "\n".join(match[0] for match in _CALL.finditer(calls)) != calls:
        raise FormatError(f"an incomplete tool call: {calls[:80]!r}")
    if text and calls:
        if not text.endswith("\n\n"):
            raise FormatError("no empty line between text and tool call")
        text = text.removesuffix("\n\n")
    return ParsedMessage(
        role="assistant",
        text=text,
        thought=thought[1].strip() if thought else "",
        calls=tuple(
            (name, _arguments(name, arguments, tools))
            for name, arguments in _CALL.findall(calls)
        ),
    )


def _arguments(name: str, text: str, tools: tuple[Tool, ...]) -> dict[str, Json]:
    if _ARGUMENT.sub("", text):
        raise FormatError(f"incomplete arguments of {name}: {text[:80]!r}")
    tool = next((tool for tool in tools if tool.name == name), None)
    parsed: dict[str, Json] = {}
    for argument, value in _ARGUMENT.findall(text):
        kind = tool.type_of(argument) if tool else "string"
        try:
            parsed[argument] = value if kind == "string" else json.loads(value)
        except json.JSONDecodeError as error:
            raise FormatError(
                f"{name}.{argument}: {value!r} is not a JSON value of type {kind}"
            ) from error
    return parsed


def _call_text(name: str, arguments: dict[str, Json]) -> str:
    parameters = ""
    for key, value in arguments.items():
        text = (
            value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        )
        parameters += f"<parameter={key}>\n{text}\n</parameter>\n"
    return f"<tool_call>\n<function={name}>\n{parameters}</function>\n</tool_call>"
