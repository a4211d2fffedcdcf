"""A stand-in for the service behind Context7's MCP server, with pages of ours.

Answers the two calls that both pinned versions of the package make: the search for a
library and the question about one. A page is a Markdown file in `docs/`, its TOML
head says under which names it is found. What has no page is found by no search.
"""

import re
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from importlib.resources import files

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

PAGES = "/v2/context"
"""Where a question about a library is answered with its page."""
_FENCE = "+++\n"
_HIGH_REPUTATION = 10
_SAYS_NOTHING = {
    *("a", "an", "and", "api", "client", "docs", "documentation", "for", "in"),
    *("library", "of", "package", "python", "sdk", "the", "to", "with"),
}


class _Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    title: str
    description: str
    also: tuple[str, ...]
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Page:
    head: _Head
    text: str

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """All it is called, as words."""
        head = self.head
        return tuple(
            _words(name)
            for name in (head.title, head.id.rpartition("/")[2], *head.also)
        )

    def fits(self, asked: str) -> int:
        """How well a name that somebody typed is one of ours; 0 is not at all."""
        words = _words(asked)
        if words in self.names:
            return 3
        if any(_holds(words, name) for name in self.names):
            return 2
        telling = set(words) - _SAYS_NOTHING
        return int(any(telling & set(name) for name in self.names))

    @property
    def listing(self) -> dict[str, object]:
        return {
            "id": self.head.id,
            "title": self.head.title,
            "description": self.head.description,
            "totalSnippets": self.text.count("\n```\n"),
            "trustScore": _HIGH_REPUTATION,
            "benchmarkScore": 0,  # nobody has measured ours: both versions leave 0 out
            "versions": [f"v{self.head.version}"],
        }


@cache
def pages() -> tuple[Page, ...]:
    """All pages we wrote, by the names of their files."""
    folder = files("llamatrix.trials.stubs") / "docs"
    found = sorted(folder.iterdir(), key=lambda each: each.name)
    return tuple(_page(each.read_text()) for each in found if each.name.endswith(".md"))


def context7_api() -> Starlette:
    return Starlette(
        routes=[
            Route("/v2/libs/search", _search),
            Route(PAGES, _context),
            Route("/{rest:path}", _not_there),
        ]
    )


def _page(text: str) -> Page:
    _, head, body = text.split(_FENCE, 2)
    return Page(head=msgspec.toml.decode(head, type=_Head), text=body.lstrip())


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+", text.lower()))


def _holds(words: tuple[str, ...], name: tuple[str, ...]) -> bool:
    """Whether a name stands in what was said, word for word."""
    places = range(len(words) - len(name) + 1)
    return any(words[at : at + len(name)] == name for at in places)


async def _search(request: Request) -> Response:
    asked = request.query_params.get("libraryName", "")
    if not asked.strip():
        return _error(HTTPStatus.BAD_REQUEST, "validation_error", "No library named.")
    ranked = sorted(pages(), key=lambda page: page.fits(asked), reverse=True)
    return JSONResponse(
        {"results": [page.listing for page in ranked if page.fits(asked)]}
    )


async def _context(request: Request) -> Response:
    """The whole page, whatever the question: it is shorter than a usual answer."""
    asked = request.query_params.get("libraryId", "").strip()
    for page in pages():
        if f"{asked}/".lower().startswith(f"{page.head.id}/"):  # a version may follow
            return PlainTextResponse(page.text)
    text = (
        f"Library {asked!r} has no documentation here. Use resolve-library-id to find "
        "the id of a library that has."
    )
    return _error(HTTPStatus.NOT_FOUND, "library_not_found", text)


async def _not_there(_request: Request) -> Response:
    return _error(HTTPStatus.NOT_FOUND, "not_found", "There is no such call.")


def _error(status: HTTPStatus, word: str, message: str) -> Response:
    return JSONResponse({"error": word, "message": message}, status_code=status)
