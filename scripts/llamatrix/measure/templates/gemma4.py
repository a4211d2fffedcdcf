"""Gemma 4's format: `<|turn>` turns, with calls and results in the model's turn.

Arguments are written in a notation of its own: JSON objects with bare keys and strings
between `<|"|>`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

from llamatrix.measure.templates.conversation import (
    Conversation,
    FormatError,
    Json,
    Message,
    ParsedMessage,
    ParsedPrompt,
)

_QUOTE = '<|"|>'
_KEY = re.compile(r"([^:{}\[\],]+):")
_PLAIN = re.compile(r"[^,{}\[\]]+")


def write_dict(value: dict[str, Json]) -> str:
    return "{" + ",".join(f"{key}:{_write(item)}" for key, item in value.items()) + "}"


def read_dict(text: str) -> dict[str, Json]:
    value, end = _read(text, 0)
    if not isinstance(value, dict) or end != len(text):
        raise FormatError(f"not a complete object: {text[:80]!r}")
    return value


def _write(value: Json) -> str:
    match value:
        case str():
            return f"{_QUOTE}{value}{_QUOTE}"
        case dict():
            return write_dict(value)
        case list():
            return "[" + ",".join(_write(item) for item in value) + "]"
        case _:
            return json.dumps(value)


def _read(text: str, at: int) -> tuple[Json, int]:
    if text.startswith(_QUOTE, at):
        end = text.find(_QUOTE, at + len(_QUOTE))
        if end < 0:
            raise FormatError(f"a string is not closed: {text[at : at + 60]!r}")
        return text[at + len(_QUOTE) : end], end + len(_QUOTE)
    if text.startswith("{", at):
        return _read_object(text, at + 1)
    if text.startswith("[", at):
        return _read_list(text, at + 1)
    plain = _PLAIN.match(text, at)
    if not plain:
        raise FormatError(f"a value is missing: {text[at : at + 40]!r}")
    try:
        return json.loads(plain[0]), plain.end()
    except json.JSONDecodeError as error:
        raise FormatError(f"not a value: {text[at : at + 40]!r}") from error


def _read_object(text: str, at: int) -> tuple[Json, int]:
    read: dict[str, Json] = {}
    while not text.startswith("}", at):
        key = _KEY.match(text, at)
        if not key:
            raise FormatError(f"not a key: {text[at : at + 40]!r}")
        read[key[1].replace(_QUOTE, "")], at = _read(text, key.end())
        at = _past_comma(text, at, "}")
    return read, at + 1


def _read_list(text: str, at: int) -> tuple[Json, int]:
    read: list[Json] = []
    while not text.startswith("]", at):
        value, at = _read(text, at)
        read.append(value)
        at = _past_comma(text, at, "]")
    return read, at + 1


def _past_comma(text: str, at: int, close: str) -> int:
    if text.startswith(",", at):
        return at + 1
    if text.startswith(close, at):
        return at
    raise FormatError(f"expected , or {close} at {text[at : at + 40]!r}")


_TURN = re.compile(r"<\|turn>(\w+)\n(.*?)(<turn\|>\n|\Z)", re.DOTALL)
_TOOL = re.compile(r"<\|tool>declaration:(\w+)\{.*?\}<tool\|>", re.DOTALL)
_EMPTY_THOUGHT = "<|channel>thought\n<channel|>"
_PIECE = re.compile(
    r"<\|channel>thought\n(?P<thought>.*?)<channel\|>"
    r"|<\|tool_call>call:(?P<name>\w+)(?P<arguments>\{.*?\})<tool_call\|>"
    r"|<\|tool_response>response:(?P<of>\w+)(?P<response>\{.*?\})<tool_response\|>"
    r"|(?P<text>(?:(?!<\|channel>|<channel\|>|<\|tool|<tool).)+)",
    re.DOTALL,
)


class Gemma4:
    name = "gemma4"
    end = "<turn|>\n"
    thoughts_with_calls_only = True

    def matches(self, template: str) -> bool:
        return "<|turn>" in template

    def opening(self, conversation: Conversation) -> str:
        return "<|turn>model\n" + ("" if conversation.thinking else _EMPTY_THOUGHT)

    def reply(self, message: Message, conversation: Conversation) -> str:
        thought = message.reasoning_content if conversation.thinking else None
        channel = f"<|channel>thought\n{thought}<channel|>" if thought else ""
        calls = "".join(
            f"<|tool_call>call:{call.function.name}{write_dict(call.arguments)}<tool_call|>"
            for call in message.tool_calls
        )
        return f"{channel}{message.text}{calls}" + ("" if calls else self.end)

    def parse(self, prompt: str, conversation: Conversation) -> ParsedPrompt:
        history = prompt.removeprefix("<bos>")
        continues = (
            bool(conversation.messages) and conversation.messages[-1].role == "tool"
        )
        if not continues:
            opening = self.opening(conversation)
            if not history.endswith(opening):
                raise FormatError(f"ends with {prompt[-60:]!r}, not with {opening!r}")
            history = history.removesuffix(opening)
        messages: list[ParsedMessage] = []
        tools: frozenset[str] = frozenset()
        at = 0
        while at < len(history):
            turn = _TURN.match(history, at)
            if not turn:
                raise FormatError(f"no turn at {history[at : at + 60]!r}")
            role, body, end = turn[1], turn[2], turn[3]
            if "<|turn>" in body or (not end and not continues):
                raise FormatError(f"a turn of {role} is not closed: {body[-60:]!r}")
            if at == 0 and role == "system":
                tools, body = _system_turn(body, conversation)
            messages += _turn(role, body) if body or role != "system" else []
            at = turn.end()
        if continues and history.endswith("<turn|>\n"):
            raise FormatError("the model's turn is closed after a tool result")
        return ParsedPrompt(messages=tuple(messages), tools=tools)


def _system_turn(body: str, conversation: Conversation) -> tuple[frozenset[str], str]:
    """Return the declared tools and the system text."""
    if body.startswith("<|think|>") != conversation.thinking:
        raise FormatError("<|think|> contradicts the thinking switch")
    for tool in conversation.tools:
        if tool.description not in body:
            raise FormatError(f"{tool.name} is declared without its description")
    text = _TOOL.sub("", body).removeprefix("<|think|>").strip()
    return frozenset(_TOOL.findall(body)), text


def _turn(role: str, body: str) -> list[ParsedMessage]:
    match role:
        case "system":
            return [ParsedMessage(role="system", text=body)]
        case "user":
            if "<|tool_response>" in body:
                raise FormatError("a tool result is in the user's turn")
            return [ParsedMessage(role="user", text=body)]
        case "model":
            return list(_model_turn(body))
        case _:
            raise FormatError(f"unknown role: {role!r}")


def _model_turn(body: str) -> Iterator[ParsedMessage]:
    """Yield an answer with thought, text and calls, its results, then the next answer."""
    answer, results, at = ParsedMessage(role="assistant"), 0, 0
    while at < len(body):
        piece = _PIECE.match(body, at)
        if not piece:
            raise FormatError(f"unreadable: {body[at : at + 60]!r}")
        at = piece.end()
        if (name := piece["of"]) is not None:
            if not results:
                yield answer
            names = [called for called, _ in answer.calls]
            if results >= len(names) or names[results] != name:
                raise FormatError(f"a result of {name!r}, but the calls are {names}")
            results += 1
            yield ParsedMessage(role="tool", text=_result(piece["response"]))
        else:
            if results:
                answer, results = ParsedMessage(role="assistant"), 0
            answer = _extended(answer, piece)
    if not results:
        yield answer


def _extended(answer: ParsedMessage, piece: re.Match[str]) -> ParsedMessage:
    if (thought := piece["thought"]) is not None:
        return replace(answer, thought=answer.thought + thought.strip())
    if (name := piece["name"]) is not None:
        call = (name, read_dict(piece["arguments"]))
        return replace(answer, calls=(*answer.calls, call))
    if answer.calls:
        raise FormatError(f"text after a tool call: {piece['text'][:60]!r}")
    return replace(answer, text=answer.text + piece["text"])


def _result(response: str) -> str:
    """Return the one `value`, or the JSON object whose fields the server spread out."""
    fields = read_dict(response)
    if set(fields) == {"value"}:
        value = fields["value"]
        return value if isinstance(value, str) else json.dumps(value)
    return json.dumps(fields)
