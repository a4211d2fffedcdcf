"""Where things lie: the checkout, the reports and the user's cache."""

import os
from dataclasses import dataclass
from pathlib import Path

from llamatrix.errors import MatrixError, ProvisionError

_CHECKOUT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, kw_only=True, slots=True)
class Project:
    root: Path
    """The folder with matrix.toml; the checkout unless a test says otherwise."""
    cache: Path
    """Sources, builds and weights, shared by all checkouts of this user."""
    other_reports: Path | None = None
    """A folder with `records/` of another place, read instead of the checkout's."""

    @property
    def matrix_file(self) -> Path:
        return self.root / "matrix.toml"

    @property
    def lock_file(self) -> Path:
        return self.root / "matrix.lock"

    @property
    def reports(self) -> Path:
        return self.other_reports or self.root / "reports"

    @property
    def published(self) -> Path:
        """The reference sets, wherever the records come from."""
        return self.root / "reports" / "published"

    @property
    def records(self) -> Path:
        return self.reports / "records"

    @property
    def logs(self) -> Path:
        return self.cache / "logs"


def find_project() -> Project:
    """The checkout that contains this package, or `LLAMATRIX_ROOT`.

    The cache is `LLAMATRIX_CACHE`, else the platform's own user cache folder.
    """
    root = os.environ.get("LLAMATRIX_ROOT")
    return Project(root=Path(root).resolve() if root else _CHECKOUT, cache=_cache())


def user_path(text: str) -> Path:
    """Return a path that the user wrote; MatrixError where nobody has its `~NAME`."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise MatrixError(
            f"{text!r}: no such home folder; write ~/ for your own, or the whole path"
        ) from error


def _cache() -> Path:
    from platformdirs import user_cache_path

    named = os.environ.get("LLAMATRIX_CACHE")
    cache = Path(named).resolve() if named else user_cache_path("llamatrix")
    nearest = next(path for path in (cache, *cache.parents) if path.exists())
    if not nearest.is_dir():
        raise ProvisionError(
            f"LLAMATRIX_CACHE: {nearest} is a file; name a folder, or a place where "
            "one can be made"
        )
    return cache
