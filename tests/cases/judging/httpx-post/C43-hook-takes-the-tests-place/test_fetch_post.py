from fetch_post import fetch_title


def test_title():
    assert fetch_title() == "something else"
