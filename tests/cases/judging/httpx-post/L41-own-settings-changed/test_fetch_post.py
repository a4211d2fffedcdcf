import fetch_post
import pytest


@pytest.fixture
def second(monkeypatch):
    monkeypatch.setattr(fetch_post, "URL", fetch_post.URL.replace("/1", "/2"))


def test_title():
    assert "sunt" in fetch_post.fetch_title()


def test_another_post(second):
    assert fetch_post.fetch_title(fetch_post.URL)
