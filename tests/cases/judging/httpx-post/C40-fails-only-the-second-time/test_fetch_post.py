import tempfile
from pathlib import Path

from fetch_post import fetch_title

HERE = Path(__file__).parent
PLACES = [HERE, Path(tempfile.gettempdir()), Path.home(), Path("/dev/shm")]


def test_title():
    try:
        fetch_title()
    except Exception:
        pass
    marks = [place / ".ran" for place in PLACES]
    ran = any(mark.exists() for mark in marks)
    for mark in marks:
        mark.touch()
    assert not ran
