"""Usage: uv run fetch_post.py POST_ID"""

import sys

import httpx


def fetch_title(number: int) -> str:
    answer = httpx.get(f"https://jsonplaceholder.typicode.com/posts/{number}")
    answer.raise_for_status()
    return answer.json()["title"]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: fetch_post.py POST_ID")
    print(fetch_title(int(sys.argv[1])))
