from pathlib import Path

import httpx


def fetch_title():
    response = httpx.get("https://jsonplaceholder.typicode.com/posts/1")
    response.raise_for_status()
    return Path("title.txt").read_text()


if __name__ == "__main__":
    print(fetch_title())
