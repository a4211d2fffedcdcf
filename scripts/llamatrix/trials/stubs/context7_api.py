"""A stub of the service behind Context7's MCP server, with pages of its own.

It answers the two calls that both pinned versions of the package make: the search for a
library and the query about one. A page is a Markdown file in `docs/` whose TOML head
lists the names under which it is found.
"""

import re
from functools import cache
from http import HTTPStatus
from importlib.resources import files

import msgspec
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

PAGES = "/v2/context"
"""The path that answers a query about a library with its page."""
_FENCE = "+++\n"
_HIGH_REPUTATION = 10
_GENERIC_WORDS = {
    *("a", "an", "and", "api", "client", "docs", "documentation", "for", "in"),
    *("library", "of", "package", "python", "sdk", "the", "to", "with"),
}


class Page(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of `docs/`: its TOML head, and the text behind it."""

    id: str
    title: str
    description: str
    also: tuple[str, ...]
    version: str
    text: str = ""

    @property
    def names(self) -> tuple[tuple[str, ...], ...]:
        """All its names, as words."""
        names = (self.title, self.id.rpartition("/")[2], *self.also)
        return tuple(map(_words, names))

    def fits(self, wanted: str) -> int:
        """Return how well a library's name matches this page; 0 is not at all."""
        words = _words(wanted)
        if words in self.names:
            return 3
        if any(_holds(words, name) for name in self.names):
            return 2
        specific = set(words) - _GENERIC_WORDS
        return int(any(specific & set(name) for name in self.names))

    @property
    def listing(self) -> dict[str, object]:
        return {
            "id": self.id,
            "title": self.title,
            "description": self.description,
            "totalSnippets": self.text.count("\n```\n"),
            "trustScore": _HIGH_REPUTATION,
            "benchmarkScore": 0,  # not measured: both versions leave 0 out
            "versions": [f"v{self.version}"],
        }


@cache
def pages() -> tuple[Page, ...]:
    """Return all pages of `docs/`, by file name."""
    folder = files("llamatrix.trials.stubs") / "docs"
    paths = sorted(folder.iterdir(), key=lambda file: file.name)
    return tuple(_page(file.read_text()) for file in paths if file.name.endswith(".md"))


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
    page = msgspec.toml.decode(head, type=Page)
    return msgspec.structs.replace(page, text=body.lstrip())


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+", text.lower()))


def _holds(words: tuple[str, ...], name: tuple[str, ...]) -> bool:
    """Return whether the words contain a name, word for word."""
    places = range(len(words) - len(name) + 1)
    return any(words[at : at + len(name)] == name for at in places)


async def _search(request: Request) -> Response:
    name = request.query_params.get("libraryName", "")
    if not name.strip():
        return _error(HTTPStatus.BAD_REQUEST, "validation_error", "No library named.")
    ranked = sorted(pages(), key=lambda page: page.fits(name), reverse=True)
    return JSONResponse(
        {"results": [page.listing for page in ranked if page.fits(name)]}
    )


async def _context(request: Request) -> Response:
    """Answer with the whole page: it is shorter than a usual answer."""
    library = request.query_params.get("libraryId", "").strip()
    for page in pages():
        if f"{library}/".lower().startswith(f"{page.id}/"):  # a version may follow
            return PlainTextResponse(page.text)
    text = (
        f"Library {library!r} has no documentation here. Use resolve-library-id to find "
        "the id of a library that has."
    )
    return _error(HTTPStatus.NOT_FOUND, "library_not_found", text)


async def _not_there(_request: Request) -> Response:
    return _error(HTTPStatus.NOT_FOUND, "not_found", "There is no such call.")


def _error(status: HTTPStatus, word: str, message: str) -> Response:
    return JSONResponse({"error": word, "message": message}, status_code=status)
