"""A package index of one folder of wheels, for uv and pip in a sandbox.

It serves the simple repository API as uv and pip use it: HTML or JSON, each file with
its sha256, and each wheel's metadata beside it, so that resolving downloads nothing.
Addresses are relative, so any port can be forwarded to it.
"""

import hashlib
import html
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from llamatrix.errors import MeasureError
from llamatrix.provision.integrity import file_sha256

LOCKED = Path(__file__).with_name("wheels.txt")
"""The content of the index, exact and with hashes; compiled from `wheels.in`."""
WISHED = LOCKED.with_suffix(".in")
_JSON = "application/vnd.pypi.simple.v1+json"
_METADATA = re.compile(r"[^/]+\.dist-info/METADATA")
_SUFFIX = ".metadata"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wheel:
    path: Path
    sha256: str
    metadata: bytes

    @property
    def project(self) -> str:
        return _normal(self.path.name.partition("-")[0])

    @property
    def metadata_sha256(self) -> str:
        return hashlib.sha256(self.metadata).hexdigest()

    @property
    def requires_python(self) -> str:
        """From its metadata; empty for any Python."""
        return BytesHeaderParser().parsebytes(self.metadata).get("Requires-Python", "")

    @property
    def link(self) -> str:
        name = html.escape(self.path.name)
        attributes = f'data-core-metadata="sha256={self.metadata_sha256}"'
        if needs := html.escape(self.requires_python):
            attributes += f' data-requires-python="{needs}"'
        href = f"../../files/{name}#sha256={self.sha256}"
        return f'<a href="{href}" {attributes}>{name}</a><br>'

    @property
    def listing(self) -> dict[str, object]:
        return {
            "filename": self.path.name,
            "url": f"../../files/{self.path.name}",
            "hashes": {"sha256": self.sha256},
            "size": self.path.stat().st_size,
            "requires-python": self.requires_python or None,
            "core-metadata": {"sha256": self.metadata_sha256},
        }


class _Index:
    def __init__(self, wheels: Sequence[_Wheel]) -> None:
        self._files = {wheel.path.name: wheel for wheel in wheels}
        self._projects: dict[str, list[_Wheel]] = {}
        for wheel in wheels:
            self._projects.setdefault(wheel.project, []).append(wheel)

    async def projects(self, request: Request) -> Response:
        names = sorted(self._projects)
        if _JSON in request.headers.get("accept", ""):
            return _json({"projects": [{"name": name} for name in names]})
        return _page(f'<a href="{name}/">{name}</a><br>' for name in names)

    async def project(self, request: Request) -> Response:
        name = _normal(request.path_params["project"])
        wheels = self._projects.get(name)
        if wheels is None:
            raise HTTPException(404, f"{name} is not in this index")
        if _JSON in request.headers.get("accept", ""):
            files = [wheel.listing for wheel in wheels]
            return _json({"name": name, "files": files})
        return _page(wheel.link for wheel in wheels)

    async def file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if wheel := self._files.get(name):
            return FileResponse(wheel.path, media_type="application/zip")
        if wheel := self._files.get(name.removesuffix(_SUFFIX)):
            return Response(wheel.metadata, media_type="text/plain")
        raise HTTPException(404, f"{name} is not in this index")


def wheel_index(folder: Path) -> Starlette:
    """Return an app that serves a folder's wheels at `/simple/`; read them now."""
    wheels = sorted(folder.glob("*.whl"))
    if not wheels:
        raise MeasureError(f"{folder}: holds no wheels for a package index")
    index = _Index([_read(path) for path in wheels])
    return Starlette(
        routes=[
            Route("/simple/", index.projects),
            Route("/simple/{project}/", index.project),
            Route("/files/{name}", index.file),
        ]
    )


def indexed(port: int) -> Mapping[str, str]:
    """Return variables with which uv and pip use the index on a loopback port."""
    url = f"http://127.0.0.1:{port}/simple"
    return {
        "UV_DEFAULT_INDEX": url,
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_LINK_MODE": "copy",  # else a warning: other disks for cache and workspace
        "PIP_INDEX_URL": url,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }


def _read(path: Path) -> _Wheel:
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = filter(_METADATA.fullmatch, archive.namelist())
            metadata = archive.read(name)
    except (zipfile.BadZipFile, ValueError) as error:
        raise MeasureError(
            f"{path}: is not a wheel ({error}); delete its folder to fetch it again"
        ) from error
    return _Wheel(path=path, sha256=file_sha256(path), metadata=metadata)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _json(body: dict[str, object]) -> Response:
    return JSONResponse({"meta": {"api-version": "1.0"}, **body}, media_type=_JSON)


def _page(lines: Iterable[str]) -> Response:
    return HTMLResponse("\n".join(["<!DOCTYPE html><html><body>", *lines]))
