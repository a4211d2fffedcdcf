"""A stand-in for the post service of prompt 1: `GET /posts` and `GET /posts/N`.

It answers as the public service does: the same first post, JSON of the same shape,
404 with an empty object for a post that is not there.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

HOST = "jsonplaceholder.typicode.com"
FIRST_TITLE = (
    "sunt aut facere repellat provident occaecati excepturi optio reprehenderit"
)
"""The title the public service gives post 1; tests of agents may well know it."""
_POSTS = 100
_PER_USER = 10


def post_api() -> Starlette:
    return Starlette(
        routes=[
            Route("/posts", _all),
            Route("/posts/{number}", _one),
            Route("/{rest:path}", _missing),
        ]
    )


def _post(number: int) -> dict[str, int | str]:
    title = FIRST_TITLE if number == 1 else f"post number {number}"
    return {
        "userId": (number - 1) // _PER_USER + 1,
        "id": number,
        "title": title,
        "body": f"this is the body of post {number}\nin two lines",
    }


async def _all(_request: Request) -> JSONResponse:
    return JSONResponse([_post(number) for number in range(1, _POSTS + 1)])


async def _one(request: Request) -> JSONResponse:
    text = request.path_params["number"]
    if text.isdecimal() and 1 <= int(text) <= _POSTS:
        return JSONResponse(_post(int(text)))
    return JSONResponse({}, status_code=404)


async def _missing(_request: Request) -> JSONResponse:
    return JSONResponse({}, status_code=404)
