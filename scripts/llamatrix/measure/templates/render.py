"""Prompts from conversations: by Python's jinja2, and by a running llama-server."""

import json
from datetime import datetime
from functools import cached_property
from typing import NoReturn, Protocol

import msgspec
from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from msgspec import Struct

from llamatrix.measure.templates.conversation import Conversation, Json, ToolCall
from llamatrix.web import NoAnswerError, Site, WrongAnswerError

_TIMEOUT_S = 60.0
_BOS, _EOS = "<bos>", "<eos>"
_VALUE_ERRORS = (TypeError, ValueError, LookupError, AttributeError, RecursionError)


class RenderError(Exception):
    """A conversation could not be rendered."""


class Renderer(Protocol):
    name: str

    def render(self, conversation: Conversation) -> str:
        """Return the prompt that asks for the next answer, or raise RenderError."""
        ...


class JinjaRenderer:
    """Renders like the vendors' own tools: blocks trimmed, JSON without escapes."""

    name = "jinja2"

    def __init__(self, template: str) -> None:
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _raise
        environment.globals["strftime_now"] = lambda form: (
            datetime.now().astimezone().strftime(form)
        )
        self._environment = environment
        self._source = template
        self._embeds_results = (
            "tool_responses" in template and "tool_call_id" not in template
        )

    @cached_property
    def _template(self) -> Template:
        """Compiled once, which takes far longer than rendering a prompt."""
        return self._environment.from_string(self._source)

    def render(self, conversation: Conversation) -> str:
        kwargs = {str(key): value for key, value in conversation.kwargs.items()}
        try:
            return self._template.render(
                messages=_plain_messages(
                    conversation, embed_results=self._embeds_results
                ),
                tools=[tool.declared() for tool in conversation.tools] or None,
                add_generation_prompt=True,
                bos_token=_BOS,
                eos_token=_EOS,
                **kwargs,
            )
        except TemplateError as error:
            raise RenderError(f"{type(error).__name__}: {error.message}") from error
        except _VALUE_ERRORS as error:
            # the template met a value that it was not written for
            raise RenderError(f"{type(error).__name__}: {error}") from error


class _Prompt(Struct):
    prompt: str


class ServerRenderer:
    """Renders by `/apply-template`, which returns the prompt of a chat request."""

    name = "llama-server"

    def __init__(self, site: Site) -> None:
        self._site = site

    def render(self, conversation: Conversation) -> str:
        try:
            reply = self._site.post(
                "/apply-template", conversation.body(), timeout_s=_TIMEOUT_S
            )
            return reply.read(_Prompt).prompt
        except (NoAnswerError, WrongAnswerError) as error:
            raise RenderError(str(error).split(": ", 1)[-1]) from error


def _plain_messages(
    conversation: Conversation, *, embed_results: bool
) -> list[dict[str, Json]]:
    """Return messages as servers pass them to a template.

    Arguments are objects and content is never null. Google's older templates expect the
    results inside the message with the calls.
    """
    plain: list[dict[str, Json]] = []
    for message in conversation.messages:
        if embed_results and message.role == "tool" and plain:
            _embed(plain[-1], message.text)
            continue
        fields: dict[str, Json] = msgspec.to_builtins(message)
        fields["content"] = fields.get("content") or ""
        if message.tool_calls:
            fields["tool_calls"] = [_plain_call(call) for call in message.tool_calls]
        plain.append(fields)
    return plain


def _plain_call(call: ToolCall) -> Json:
    function: Json = {"name": call.function.name, "arguments": call.arguments}
    return {"id": call.id, "type": call.type, "function": function}


def _embed(caller: dict[str, Json], text: str) -> None:
    results = caller.setdefault("tool_responses", [])
    calls = caller["tool_calls"]
    if isinstance(results, list) and isinstance(calls, list):
        call = calls[len(results)]
        function = call["function"] if isinstance(call, dict) else None
        name = function["name"] if isinstance(function, dict) else None
        results.append({"name": name, "response": text})


def _tojson(value: Json, **_: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _raise(message: str) -> NoReturn:
    raise TemplateError(message)
