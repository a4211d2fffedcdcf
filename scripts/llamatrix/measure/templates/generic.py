"""Any other family: its format is unknown, but nothing of a conversation may be lost.

Such a template must render every conversation of an agent, with all texts, tools, calls
and arguments in the prompt, and extend the prompt step by step. Whether a model was
trained on this text, and whether it writes calls that the server parses, is not tested.
"""

import json

from llamatrix.measure.templates.conversation import (
    Conversation,
    FormatError,
    Json,
    Message,
    ParsedPrompt,
    expected_prompt,
)

ESSENTIAL = frozenset(
    {
        *("prompt-thinking-on", "prompt-thinking-off", "prompt-in-a-loop"),
        *("arguments-as-text", "arguments-as-object", "arguments-nested-unicode"),
        *("arguments-none-given", "user-text-like-a-result"),
    }
)
"""Without these no agent works; by its own rules a format may refuse or drop the rest."""


class Generic:
    name = "generic"
    end = ""
    thoughts_with_calls_only = False

    def matches(self, template: str) -> bool:
        return bool(template)

    def opening(self, conversation: Conversation) -> str:
        """Return nothing: no more is known than that a prompt ends somehow."""
        del conversation
        return ""

    def reply(self, message: Message, conversation: Conversation) -> str:
        """Return the empty beginning of every reply."""
        del message, conversation
        return ""

    def parse(self, prompt: str, conversation: Conversation) -> ParsedPrompt:
        """Return what the prompt should contain, or FormatError for the first thing missing."""
        for tool in conversation.tools:
            for text in (tool.name, tool.description):
                if text not in prompt:
                    raise FormatError(
                        f"the tool {tool.name} is not declared: no {text!r}"
                    )
        at = 0
        for index, message in enumerate(conversation.messages):
            # a template may merge system messages at the beginning
            merges = message.role in ("system", "developer")
            begin = 0 if merges else at
            place = prompt.find(message.text, begin)
            if place < 0:
                raise FormatError(f"message {index}: no {message.text[:80]!r}")
            at = at if merges else place + len(message.text)
            for call in message.tool_calls:
                for text in (call.function.name, *_strings(call.arguments)):
                    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
                    if max(prompt.find(text, begin), prompt.find(escaped, begin)) < 0:
                        raise FormatError(
                            f"message {index}: a call of {call.function.name} lacks "
                            f"{text[:80]!r}"
                        )
        return expected_prompt(conversation, self)


def _strings(value: Json) -> list[str]:
    """Return the keys and texts of a call's arguments."""
    match value:
        case str():
            return [value]
        case list():
            return [text for item in value for text in _strings(item)]
        case dict():
            return [
                text for key, item in value.items() for text in (key, *_strings(item))
            ]
        case _:
            return []
