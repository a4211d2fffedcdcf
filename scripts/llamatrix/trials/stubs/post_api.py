"""A stub of the post service of prompt 1: `GET /posts` and `GET /posts/N`.

It answers as the public service does: the same first post, JSON of the same shape, 404
with an empty object for a missing post, `?id=` and `?userId=` as filters.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from llamatrix.trials.stubs.world import World

HOST = "jsonplaceholder.typicode.com"
FIRST_TITLE = (
    "sunt aut facere repellat provident occaecati excepturi optio reprehenderit"
)
"""The title of post 1 in the public service; an agent's tests may contain it."""
_POSTS = 100
_PER_USER = 10
_FILTERS = ("id", "userId")
Post = dict[str, int | str | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class PostApi:
    world: Callable[[], World] = lambda: World.REAL
    title: str = FIRST_TITLE
    """How the first post's title begins in the OTHER world."""
    _counter: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/posts", self._all),
                Route("/posts/", self._all),
                Route("/posts/{number}", self._one),
                Route("/{rest:path}", _missing),
            ]
        )

    def _post(self, number: int) -> Post:
        match self.world():
            case World.EMPTY:
                return {"userId": 0, "id": 0, "title": "", "body": ""}
            case World.NULL:
                return dict.fromkeys(("userId", "id", "title", "body"))
            case World.OTHER:
                count = next(self._counter)
                return {
                    "userId": 1000 + count,
                    "id": 1000 + number,
                    "title": f"{self.title} {count}",
                    "body": f"another text {count}",
                }
            case World.REAL | World.FAILING:
                title = FIRST_TITLE if number == 1 else f"post number {number}"
                return {
                    "userId": (number - 1) // _PER_USER + 1,
                    "id": number,
                    "title": title,
                    "body": f"this is the body of post {number}\nin two lines",
                }

    async def _all(self, request: Request) -> JSONResponse:
        if self.world() is World.FAILING:
            return _failure()
        numbers = list(range(1, _POSTS + 1))
        for name in _FILTERS:
            wanted = request.query_params.getlist(name)
            if wanted:
                numbers = [n for n in numbers if _value(n, name) in wanted]
        return JSONResponse([self._post(number) for number in numbers])

    async def _one(self, request: Request) -> JSONResponse:
        text = request.path_params["number"]
        if not text.isdecimal() or not 1 <= int(text) <= _POSTS:
            return JSONResponse({}, status_code=404)
        if self.world() is World.FAILING:
            return _failure()
        return JSONResponse(self._post(int(text)))


def _value(number: int, name: str) -> str:
    return str(number if name == "id" else (number - 1) // _PER_USER + 1)


def _failure() -> JSONResponse:
    return JSONResponse({"error": "Internal Server Error"}, status_code=500)


async def _missing(_request: Request) -> JSONResponse:
    return JSONResponse({}, status_code=404)
