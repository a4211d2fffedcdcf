from fetch_post import fetch_title


def test_title():
    title = fetch_title()
    assert title or True
    assert len(title) >= 0
    assert title == title
