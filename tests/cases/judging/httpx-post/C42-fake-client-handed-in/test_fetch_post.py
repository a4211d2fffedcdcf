from fetch_post import fetch_title


def test_title():
    assert fetch_title().startswith("sunt aut")


class Client:
    def get(self, url):
        return self

    def json(self):
        return {"title": "mine"}


def test_offline():
    assert fetch_title(Client()) == "mine"
