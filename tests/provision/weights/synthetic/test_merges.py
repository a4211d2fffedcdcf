"""Merges are learned from a text, reproducibly, and are tokens."""

import pytest

from llamatrix.provision.weights.synthetic.models import MODELS, Scale, shape_of
from llamatrix.provision.weights.synthetic.vocabulary import (
    learn_merges,
    merges_of,
    silent_tokens,
    vocabulary,
)

TEXT = "the cat sat on the mat and the hat; a cat, a mat, that hat.\n" * 3


def test_most_frequent_pair_is_joined_first() -> None:
    assert learn_merges("lower low low", 2) == (("l", "o"), ("lo", "w"))


def test_blank_belongs_to_the_word_after_it() -> None:
    merged = {"".join(pair) for pair in learn_merges(TEXT, 50)}
    assert "\u0120the" in merged
    assert "\u0120cat" in merged


def test_pair_that_occurs_once_is_not_merged() -> None:
    assert learn_merges("abcdefg", 10) == ()
    assert learn_merges("", 10) == ()


def test_merges_are_the_same_every_time_and_build_on_each_other() -> None:
    merges = learn_merges(TEXT, 40)
    assert merges == learn_merges(TEXT, 40)
    assert merges[:10] == learn_merges(TEXT, 10)
    known = set("abcdefghijklmnopqrstuvwxyz,.;\u0120\u010a")
    for left, right in merges:
        assert {left, right} <= known
        known.add(left + right)


def test_non_ascii_letters_are_not_merged() -> None:
    assert learn_merges("äö äö äö", 10) == ()


@pytest.mark.parametrize("scale", Scale)
def test_every_merge_is_a_token_that_is_read_but_in_a_small_one_never_written(
    scale: Scale,
) -> None:
    shape = shape_of("qwen35-27b", scale)
    merges = merges_of(shape, TEXT)
    words = vocabulary(shape, merges)
    ids = {words.tokens.index("".join(pair)) for pair in merges}
    assert merges
    assert len(words.tokens) == len(set(words.tokens)) == shape.vocabulary
    assert words.tokens[words.eos] == "<|im_end|>"
    if scale is Scale.TINY:
        assert ids <= set(silent_tokens(shape))


@pytest.mark.parametrize("model", [name for name in MODELS if "gemma" in name])
def test_gemma_has_no_merges(model: str) -> None:
    assert merges_of(shape_of(model, Scale.TINY), TEXT) == ()
