import httpx

URL = "https://jsonplaceholder.typicode.com/posts/1"


def fetch_title(client=httpx):
    return client.get(URL).json()["title"]


if __name__ == "__main__":
    print(fetch_title())
