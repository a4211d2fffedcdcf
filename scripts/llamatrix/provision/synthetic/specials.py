"""The special tokens of the two families, at the ids of the real vocabularies."""

from enum import IntEnum

from llamatrix.provision.synthetic.hyperparameters import Gemma4, Qwen35, Shape


class TokenType(IntEnum):
    """As `tokenizer.ggml.token_type` numbers them."""

    NORMAL = 1
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


_QWEN = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
    "<|fim_pad|>",
    "<|repo_name|>",
    "<|file_sep|>",
    "<tool_response>",
    "</tool_response>",
    "<think>",
    "</think>",
)
_QWEN_FIRST = 248044
"""Ids run on from here: `<|im_end|>` 248046, padding 248055 and the ends 248063-248065
are those of the EOG list in AmesianX/TurboQuant#2."""

_GEMMA_CONTROL = {
    0: "<pad>",
    1: "<eos>",
    2: "<bos>",
    3: "<unk>",
    4: "<mask>",
    46: "<|tool>",
    47: "<tool|>",
    98: "<|think|>",
    105: "<|turn>",
    106: "<turn|>",
}
_GEMMA_USER_DEFINED = {
    48: "<|tool_call>",
    49: "<tool_call|>",
    50: "<|tool_response>",
    51: "<tool_response|>",
    52: '<|"|>',
    100: "<|channel>",
    101: "<channel|>",
}
"""Both tables are of llama.cpp's `ggml-vocab-gemma-4.gguf`, less pictures and sound."""

ENDS = frozenset({"<|endoftext|>", "<|im_end|>", "<eos>", "<turn|>"})
"""What a random answer may end with. llama.cpp takes more texts for an end; so many
among a hundred letters would stop most answers after a word."""


def special_tokens(shape: Shape) -> dict[int, tuple[str, TokenType]]:
    """Text and type by id; in a small vocabulary Qwen's are the last ones."""
    match shape:
        case Qwen35():
            first = min(_QWEN_FIRST, shape.vocabulary - len(_QWEN))
            return {
                token: (text, _qwen_type(text))
                for token, text in enumerate(_QWEN, start=first)
            }
        case Gemma4():
            return {
                **{i: (text, TokenType.CONTROL) for i, text in _GEMMA_CONTROL.items()},
                **{
                    i: (text, TokenType.USER_DEFINED)
                    for i, text in _GEMMA_USER_DEFINED.items()
                },
            }


def _qwen_type(text: str) -> TokenType:
    return TokenType.CONTROL if text.startswith("<|") else TokenType.USER_DEFINED
