"""The post service of prompt 1, asked under its real name over TLS."""

import httpx

from llamatrix.trials.stubs.serving import Stubs

URL = "https://jsonplaceholder.typicode.com"


def test_the_first_post_is_the_public_one(client: httpx.Client) -> None:
    answer = client.get(f"{URL}/posts/1")
    assert answer.headers["content-type"].startswith("application/json")
    post = answer.json()
    assert post["title"].startswith("sunt aut facere repellat provident occaecati")
    assert {"userId": 1, "id": 1}.items() <= post.items()
    assert set(post) == {"userId", "id", "title", "body"}


def test_post_list_has_a_hundred_posts_of_ten_users(client: httpx.Client) -> None:
    posts = client.get(f"{URL}/posts").json()
    assert [post["id"] for post in posts] == list(range(1, 101))
    assert {post["userId"] for post in posts} == set(range(1, 11))


def test_missing_post_is_an_empty_object_with_404(client: httpx.Client) -> None:
    for path in ("/posts/101", "/posts/0", "/posts/one", "/nothing"):
        answer = client.get(URL + path)
        assert (answer.status_code, answer.json()) == (404, {})


def test_every_request_is_in_the_log_in_order(
    client: httpx.Client, stubs: Stubs
) -> None:
    from llamatrix.trials.stubs.request_log import read_requests

    client.get(f"{URL}/posts/1", headers={"User-Agent": "me/1"})
    client.get(f"{URL}/posts/999?key=secret")
    first, second = read_requests(stubs.log)
    assert (first.method, first.path, first.status) == ("GET", "/posts/1", 200)
    assert (first.host, first.user_agent) == ("jsonplaceholder.typicode.com", "me/1")
    assert (second.path, second.status) == ("/posts/999", 404)
    assert "secret" not in stubs.log.read_text()
