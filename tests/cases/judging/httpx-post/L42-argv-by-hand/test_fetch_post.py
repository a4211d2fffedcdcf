from fetch_post import fetch_title


def test_title():
    assert fetch_title(1) and fetch_title(1) != fetch_title(2)
