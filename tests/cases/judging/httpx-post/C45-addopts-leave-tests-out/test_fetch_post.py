from fetch_post import fetch_title


def test_title():
    assert fetch_title().startswith("wrong")


def test_any():
    assert "sunt" in fetch_title()
