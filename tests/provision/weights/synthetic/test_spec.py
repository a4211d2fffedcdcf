from llamatrix.provision.weights.synthetic.models import Scale, SyntheticSpec

_SPEC = SyntheticSpec(model="qwen35-27b", scale=Scale.TINY, chat_template="{{ x }}")


def test_digest_of_equal_specs_is_equal() -> None:
    same = SyntheticSpec(model="qwen35-27b", scale=Scale.TINY, chat_template="{{ x }}")
    assert same.digest() == _SPEC.digest()
    assert len(bytes.fromhex(same.digest())) == 32


def test_input_of_the_bytes_changes_the_digest() -> None:
    template = _SPEC.chat_template
    others = [
        SyntheticSpec(model="gemma4-31b", scale=Scale.TINY, chat_template=template),
        SyntheticSpec(model="qwen35-27b", scale=Scale.FULL, chat_template=template),
        SyntheticSpec(model="qwen35-27b", scale=Scale.TINY, chat_template="{{ y }}"),
        SyntheticSpec(
            model="qwen35-27b", scale=Scale.TINY, chat_template=template, seed=1
        ),
    ]
    assert len({_SPEC.digest(), *(other.digest() for other in others)}) == 5
