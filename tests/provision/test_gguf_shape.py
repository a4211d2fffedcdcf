"""The shape read off a file is the one its hyper-parameters say."""

from pathlib import Path

import pytest

from llamatrix.errors import ProvisionError
from llamatrix.provision.fit import Use, known_shape, need
from llamatrix.provision.gguf_shape import shape_of_file
from llamatrix.provision.synthetic.hyperparameters import MODELS
from llamatrix.provision.synthetic.spec import Scale, SyntheticSpec
from llamatrix.provision.synthetic.write import write


@pytest.mark.parametrize("model", MODELS)
def test_a_file_and_its_hyper_parameters_need_the_same(
    model: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.gguf"
    spec = SyntheticSpec(model=model, scale=Scale.TINY, chat_template="")
    write(spec, path, on_bytes=lambda _: None)
    found, known = shape_of_file(path), known_shape(model, Scale.TINY)
    assert sorted(found.attention, key=repr) == sorted(known.attention, key=repr)
    for tokens in (256, 4096):
        assert need(found, Use(), context_tokens=tokens) == need(
            known, Use(), context_tokens=tokens
        )
    assert found.trained_tokens == known.trained_tokens


def test_what_is_no_gguf_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUX" + bytes(60))
    with pytest.raises(ProvisionError, match=r"a\.gguf: no GGUF"):
        shape_of_file(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match=r"none\.gguf"):
        shape_of_file(tmp_path / "none.gguf")
