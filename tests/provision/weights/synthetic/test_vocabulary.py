from functools import cache

import pytest

from llamatrix.provision.weights.synthetic import vocabulary as made
from llamatrix.provision.weights.synthetic.models import MODELS, Scale, shape_of
from llamatrix.provision.weights.synthetic.vocabulary import TokenType, silent_tokens

vocabulary = cache(made.vocabulary)


@pytest.mark.parametrize(
    ("model", "size"), [("qwen35-27b", 248320), ("gemma4-31b", 262144)]
)
def test_full_vocabulary_has_its_true_size(model: str, size: int) -> None:
    words = vocabulary(shape_of(model, Scale.FULL))
    assert len(words.tokens) == len(words.types) == size


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scale", Scale)
def test_token_texts_are_unique(model: str, scale: Scale) -> None:
    words = vocabulary(shape_of(model, scale))
    assert len(set(words.tokens)) == len(words.tokens)


def test_qwen_has_its_real_special_ids_at_full_size() -> None:
    words = vocabulary(shape_of("qwen35-27b", Scale.FULL))
    assert (words.eos, words.padding) == (248046, 248055)
    assert words.tokens[248046] == "<|im_end|>"
    ends = [words.tokens[i] for i in (248044, 248063, 248064, 248065)]
    assert ends == ["<|endoftext|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"]


@pytest.mark.parametrize("scale", Scale)
def test_gemma_has_its_real_special_ids_at_any_size(scale: Scale) -> None:
    words = vocabulary(shape_of("gemma4-31b", scale))
    assert (words.padding, words.eos, words.bos) == (0, 1, 2)
    assert words.tokens[105:107] == ("<|turn>", "<turn|>")


@pytest.mark.parametrize("scale", Scale)
def test_every_byte_has_one_token_and_only_text_is_generated(scale: Scale) -> None:
    words = vocabulary(shape_of("qwen35-27b", scale))
    spoken = [i for i, kind in enumerate(words.types) if kind is TokenType.NORMAL]
    assert spoken == [0x09, 0x0A, *range(0x20, 0x7F)]
    assert words.tokens[ord("a")] == "a"
    assert words.tokens[ord(" ")] == "\u0120"

    words = vocabulary(shape_of("gemma4-31b", scale))
    letters = {f"<0x{byte:02X}>": byte for byte in range(256)}
    assert letters.keys() <= set(words.tokens)
    spoken = [
        letters[text]
        for text, kind in zip(words.tokens, words.types, strict=True)
        if kind is TokenType.BYTE
    ]
    assert spoken == [0x09, 0x0A, *range(0x20, 0x7F)]


def test_blank_is_one_token_for_gemma_too() -> None:
    words = vocabulary(shape_of("gemma4-26b-a4b", Scale.TINY))
    assert words.types[words.tokens.index("\u2581")] is TokenType.NORMAL


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("scale", Scale)
def test_tool_markup_is_silent_and_the_end_is_not(model: str, scale: Scale) -> None:
    shape = shape_of(model, scale)
    words, silent = vocabulary(shape), set(silent_tokens(shape))
    markup = "<tool_call>" if model.startswith("qwen") else "<|tool_call>"
    assert words.tokens.index(markup) in silent
    assert words.eos not in silent


def test_small_vocabulary_generates_only_text_and_ends() -> None:
    shape = shape_of("qwen35-27b", Scale.TINY)
    words, silent = vocabulary(shape), set(silent_tokens(shape))
    loud = [words.tokens[i] for i in range(shape.vocabulary) if i not in silent]
    assert loud[-2:] == ["<|endoftext|>", "<|im_end|>"]
    assert len(loud) == 97 + 2
