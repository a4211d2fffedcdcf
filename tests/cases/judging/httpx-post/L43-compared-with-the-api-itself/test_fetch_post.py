import httpx
from fetch_post import URL, fetch_title


def test_title():
    assert fetch_title() == httpx.get(URL).json()["title"]
