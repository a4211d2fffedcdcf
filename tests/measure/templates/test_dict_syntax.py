import pytest

from llamatrix.measure.templates.conversation import Json
from llamatrix.measure.templates.dict_syntax import read_dict, write_dict
from llamatrix.measure.templates.reading import FormatError

VALUES: dict[str, Json] = {
    "text": 'a, {b}: [c] "quoted"\n',
    "none": None,
    "yes": True,
    "number": -2.5,
    "list": [1, [], {"in": "π"}],
    "empty": {},
}


def test_what_is_written_reads_back_equal_and_in_order() -> None:
    read = read_dict(write_dict(VALUES))
    assert read == VALUES
    assert list(read) == list(VALUES)


@pytest.mark.parametrize(
    "text",
    ["", "{", "{a}", "{a:}", "{a:None}", '{a:<|"|>x}', "{a:1 b:2}", "{a:[1}", "{}x"],
)
def test_what_is_no_whole_object_is_told(text: str) -> None:
    with pytest.raises(FormatError):
        read_dict(text)
