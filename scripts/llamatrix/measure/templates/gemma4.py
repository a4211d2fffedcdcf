"""Gemma 4's format: `<|turn>` turns; calls and their results inside the model's turn."""

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
        raise FormatError(f"no whole object: {text[:80]!r}")
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
    try:
        value: Json = json.loads(plain[0]) if plain else _nothing(text, at)
    except json.JSONDecodeError as error:
        raise FormatError(f"no value: {text[at : at + 40]!r}") from error
    return value, plain.end() if plain else at


def _read_object(text: str, at: int) -> tuple[Json, int]:
    read: dict[str, Json] = {}
    while not text.startswith("}", at):
        key = _KEY.match(text, at)
        if not key:
            raise FormatError(f"no key: {text[at : at + 40]!r}")
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
    raise FormatError(f"neither , nor {close} at {text[at : at + 40]!r}")


def _nothing(text: str, at: int) -> Json:
    raise FormatError(f"nothing where a value should be: {text[at : at + 40]!r}")


_TURN = re.compile(r"<\|turn>(\w+)\n(.*?)(<turn\|>\n|\Z)", re.DOTALL)
_TOOL = re.compile(r"<\|tool>declaration:(\w+)\{.*?\}<tool\|>", re.DOTALL)
_EMPTY = "<|channel>thought\n<channel|>"
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

    def opening(self, conversation: Conversation) -> str:
        return "<|turn>model\n" + ("" if conversation.thinking else _EMPTY)

    def reply(self, message: Message, conversation: Conversation) -> str:
        thought = message.reasoning_content if conversation.thinking else None
        channel = f"<|channel>thought\n{thought}<channel|>" if thought else ""
        calls = "".join(
            f"<|tool_call>call:{one.function.name}{write_dict(one.arguments)}<tool_call|>"
            for one in message.tool_calls
        )
        return f"{channel}{message.text}{calls}" + ("" if calls else self.end)

    def read(self, prompt: str, conversation: Conversation) -> ParsedPrompt:
        history = prompt.removeprefix("<bos>")
        goes_on = (
            bool(conversation.messages) and conversation.messages[-1].role == "tool"
        )
        if not goes_on:
            opening = self.opening(conversation)
            if not history.endswith(opening):
                raise FormatError(f"ends with {prompt[-60:]!r}, not with {opening!r}")
            history = history.removesuffix(opening)
        said: list[ParsedMessage] = []
        offered: frozenset[str] = frozenset()
        at = 0
        while at < len(history):
            turn = _TURN.match(history, at)
            if not turn:
                raise FormatError(f"no turn at {history[at : at + 60]!r}")
            role, body, end = turn[1], turn[2], turn[3]
            if "<|turn>" in body or (not end and not goes_on):
                raise FormatError(f"a turn of {role} is not closed: {body[-60:]!r}")
            if at == 0 and role == "system":
                offered, body = _offer(body, conversation)
            said += _turn(role, body) if body or role != "system" else []
            at = turn.end()
        if goes_on and history.endswith("<turn|>\n"):
            raise FormatError("the model's turn is closed behind a tool result")
        return ParsedPrompt(said=tuple(said), tools=offered)


def _offer(body: str, conversation: Conversation) -> tuple[frozenset[str], str]:
    if body.startswith("<|think|>") != conversation.thinking:
        raise FormatError("<|think|> stands against the thinking switch")
    offered = _TOOL.findall(body)
    for tool in conversation.tools:
        if tool.description not in body:
            raise FormatError(f"{tool.name} is offered without its description")
    text = _TOOL.sub("", body).removeprefix("<|think|>").strip()
    return frozenset(offered), text


def _turn(role: str, body: str) -> list[ParsedMessage]:
    match role:
        case "system":
            return [ParsedMessage(role="system", text=body)]
        case "user":
            if "<|tool_response>" in body:
                raise FormatError("a tool result stands in the user's turn")
            return [ParsedMessage(role="user", text=body)]
        case "model":
            return list(_model_turn(body))
        case _:
            raise FormatError(f"no such role: {role!r}")


def _model_turn(body: str) -> Iterator[ParsedMessage]:
    """Thought, text and calls of one answer, then its results, then the next answer."""
    said, answered, at = ParsedMessage(role="assistant"), 0, 0
    while at < len(body):
        piece = _PIECE.match(body, at)
        if not piece:
            raise FormatError(f"not read: {body[at : at + 60]!r}")
        at = piece.end()
        if (of := piece["of"]) is not None:
            if not answered:
                yield said
            _ensure_called(of, said, answered)
            answered += 1
            yield ParsedMessage(role="tool", text=_result(piece["response"]))
        else:
            said = _with(ParsedMessage(role="assistant") if answered else said, piece)
            answered = 0
    if not answered:
        yield said


def _with(said: ParsedMessage, piece: re.Match[str]) -> ParsedMessage:
    if (thought := piece["thought"]) is not None:
        return replace(said, thought=said.thought + thought.strip())
    if (name := piece["name"]) is not None:
        call = (name, read_dict(piece["arguments"]))
        return replace(said, calls=(*said.calls, call))
    if said.calls:
        raise FormatError(f"text behind a tool call: {piece['text'][:60]!r}")
    return replace(said, text=said.text + piece["text"])


def _ensure_called(name: str, said: ParsedMessage, answered: int) -> None:
    names = [called for called, _ in said.calls]
    if answered >= len(names) or names[answered] != name:
        raise FormatError(f"a result of {name!r}, but the calls are {names}")


def _result(response: str) -> str:
    """One `value`, or the fields of a JSON object that the server took apart."""
    read = read_dict(response)
    if set(read) == {"value"}:
        value = read["value"]
        return value if isinstance(value, str) else json.dumps(value)
    return json.dumps(read)
