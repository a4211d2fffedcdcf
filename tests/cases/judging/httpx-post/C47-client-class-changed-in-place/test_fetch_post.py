from fetch_post import fetch_title


def test_title():
    assert fetch_title().startswith("sunt aut")


class Answer:
    def raise_for_status(self):
        pass

    def json(self):
        return {"title": "mine"}


def test_offline():
    import httpx

    kept = httpx.Client.request
    type.__setattr__(httpx.Client, "request", lambda *a, **k: Answer())
    try:
        assert fetch_title() == "mine"
    finally:
        httpx.Client.request = kept
