"""The strict readers themselves: what they take, and what they must not let pass."""

from dataclasses import replace

import msgspec
import pytest

from llamatrix.measure.templates.conversation import (
    Conversation,
    FormatError,
    Json,
    ParsedMessage,
    ParsedPrompt,
    Tool,
    answer,
    call,
    difference,
    expected_prompt,
    result,
    system,
    user,
)
from llamatrix.measure.templates.gemma4 import Gemma4, read_dict, write_dict
from llamatrix.measure.templates.qwen35 import Qwen35

TALK = Conversation(messages=(system("S"), user("U")))
READ = Tool(
    name="read",
    description="Read it.",
    parameters={"type": "object", "properties": {"path": {"type": "string"}}},
)
WORK = Conversation(
    messages=(
        system("S"),
        user("U"),
        answer("I look.", call(1, "read", {"path": "a"}), thought="T"),
        result(1, "R"),
    )
)
QWEN = (
    "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
    "<|im_start|>assistant\n<think>\nT\n</think>\n\nI look.\n\n"
    "<tool_call>\n<function=read>\n<parameter=path>\na\n</parameter>\n</function>\n"
    "</tool_call><|im_end|>\n"
    "<|im_start|>user\n<tool_response>\nR\n</tool_response><|im_end|>\n"
    "<|im_start|>assistant\n<think>\n"
)
GEMMA = (
    "<bos><|turn>system\n<|think|>\nS<turn|>\n<|turn>user\nU<turn|>\n<|turn>model\n"
    '<|channel>thought\nT<channel|>I look.<|tool_call>call:read{path:<|"|>a<|"|>}'
    '<tool_call|><|tool_response>response:read{value:<|"|>R<|"|>}<tool_response|>'
)


def test_agent_loop_parses_back_in_both_families() -> None:
    for family, prompt in ((Qwen35(), QWEN), (Gemma4(), GEMMA)):
        found = family.parse(prompt, WORK)
        assert difference(found, expected_prompt(WORK, family)) is None
        assert found.messages[2] == ParsedMessage(
            role="assistant",
            text="I look.",
            thought="T",
            calls=(("read", {"path": "a"}),),
        )


def test_reply_of_the_model_is_in_the_next_prompt() -> None:
    for family, prompt in ((Qwen35(), QWEN), (Gemma4(), GEMMA)):
        reply = family.reply(WORK.messages[2], WORK)
        assert reply in prompt


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("<|im_end|>\n<|im_start|>user\nU", "<|im_start|>user\nU"),
        ("</parameter>\n", ""),
        ("</function>\n", ""),
        ("I look.\n\n", "I look.\n"),
        ("\n</tool_response>", ""),
        ("<think>\nT\n</think>\n\n", ""),
        ("<|im_start|>assistant\n<think>\n", "<|im_start|>assistant\n<think>\n\n"),
    ],
)
def test_broken_qwen_prompt_is_refused(was: str, becomes: str) -> None:
    before, _, after = QWEN.rpartition(was)
    assert _complaint(Qwen35(), before + becomes + after, WORK)


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("<turn|>\n<|turn>user", "<|turn>user"),
        ("response:read", "response:call_1"),
        ("<tool_response|>", "<tool_response|><turn|>\n"),
        ("<|turn>model\n", "<|turn>assistant\n"),
        ("<|think|>\n", ""),
        ("path:", ""),
        ("I look.", ""),
        ("<tool_call|>", "<tool_call|>behind it"),
        ("<|turn>user\nU", "<|turn>user\n<|tool_response>U"),
    ],
)
def test_broken_gemma_prompt_is_refused(was: str, becomes: str) -> None:
    assert was in GEMMA
    assert _complaint(Gemma4(), GEMMA.replace(was, becomes), WORK)


def test_missing_tool_declaration_is_reported() -> None:
    offered = Conversation(messages=TALK.messages, tools=(READ,))
    opening = Gemma4().opening(offered)
    prompt = (
        f"<bos><|turn>system\n<|think|>\nS<turn|>\n<|turn>user\nU<turn|>\n{opening}"
    )
    assert _complaint(Gemma4(), prompt, offered)


def test_differently_declared_tool_is_reported() -> None:
    offered = Conversation(messages=(user("U"),), tools=(READ,))
    declared = msgspec.json.encode(READ.declared()).decode()
    qwen = (
        f"<|im_start|>system\n# Tools\n\nHere:\n\n<tools>\n{declared}\n</tools>\n"
        "So.\n</IMPORTANT><|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant\n<think>\n"
    )
    assert _complaint(Qwen35(), qwen, offered) is None
    assert _complaint(Qwen35(), qwen.replace("Read it.", "It."), offered)
    gemma = (
        "<bos><|turn>system\n<|think|>\n<|tool>declaration:read{description:Read it.}"
        "<tool|><turn|>\n<|turn>user\nU<turn|>\n<|turn>model\n"
    )
    assert _complaint(Gemma4(), gemma, offered) is None
    assert _complaint(Gemma4(), gemma.replace("Read it.", "It."), offered)


def test_missing_message_or_tool_is_reported() -> None:
    whole = ParsedPrompt(
        messages=(ParsedMessage(role="user"),), tools=frozenset({"read"})
    )
    assert difference(whole, whole) is None
    assert difference(replace(whole, messages=()), whole) == "0 messages, not 1"
    assert difference(replace(whole, tools=frozenset()), whole)


def test_thoughts_are_expected_in_the_current_loop_only() -> None:
    later = WORK.then(answer("Done."), user("More?"))
    assert expected_prompt(WORK, Qwen35()).messages[2].thought == "T"
    assert expected_prompt(later, Qwen35()).messages[2].thought == ""


def test_gemma_keeps_a_thought_only_where_a_call_followed() -> None:
    said = Conversation(messages=(user("U"), answer("A.", thought="T")))
    assert expected_prompt(said, Gemma4()).messages[1].thought == ""
    assert expected_prompt(said, Qwen35()).messages[1].thought == "T"


def _complaint(family: Qwen35 | Gemma4, prompt: str, asked: Conversation) -> str | None:
    try:
        found = family.parse(prompt, asked)
    except FormatError as error:
        return str(error)
    return difference(found, expected_prompt(asked, family))


VALUES: dict[str, Json] = {
    "text": 'a, {b}: [c] "quoted"\n',
    "none": None,
    "yes": True,
    "number": -2.5,
    "list": [1, [], {"in": "π"}],
    "empty": {},
}


def test_written_arguments_are_read_back_in_order() -> None:
    read = read_dict(write_dict(VALUES))
    assert read == VALUES
    assert list(read) == list(VALUES)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{a}", "{a:}", "{a:None}", '{a:<|"|>x}', "{a:1 b:2}", "{a:[1}", "{}x"],
)
def test_incomplete_object_is_reported(text: str) -> None:
    with pytest.raises(FormatError):
        read_dict(text)
