import pytest
from fetch_post import fetch_title

pytestmark = pytest.mark.network


@pytest.fixture(scope="module")
def title():
    return fetch_title()


def test_is_text(title):
    assert isinstance(title, str)


def test_is_not_empty(title):
    assert len(title) > 0
