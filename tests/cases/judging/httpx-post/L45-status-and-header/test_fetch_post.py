import httpx
from fetch_post import URL, fetch_title


def test_status():
    answer = httpx.get(URL, headers={"User-Agent": "tests/1.0"})
    assert answer.status_code == 200
    assert "title" in answer.json()


def test_title():
    assert isinstance(fetch_title(), str)
