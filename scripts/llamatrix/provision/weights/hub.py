"""The hub of published weights, through huggingface_hub: look up, stream, keep in its cache.

The library's own download does not resume after an interruption (its issue #4196) and
does not verify content. So files are streamed here and verified by `provide.py`; the
library then links them into its cache, where every other program of the user finds
them.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from llamatrix.config.lock import HubFile
from llamatrix.errors import ProvisionError
from llamatrix.project import user_path

_ANSWER_TIMEOUT_S = 5.0
_STREAM_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 20
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REFUSALS = (401, 403)
_SERVER_FAILS = 500
_GATED = (
    "its repository is gated: accept the licence on its page of the hub, set HF_TOKEN "
    "to a token of the same account, and run the command again"
)
_GONE = (
    "the hub no longer has this revision; `invoke lock` takes the newest, "
    "--weights-dir a folder where you have the locked file"
)
_NO_FILE = (
    "the hub has no such file; correct models.*.file in matrix.toml, or give a folder "
    "where you have it as --weights-dir"
)
_NO_REPOSITORY = (
    "no such repository on the hub, or not open to everyone; correct models.*.repository "
    "in matrix.toml, or set HF_TOKEN"
)


class HubUnreachableError(ProvisionError):
    """The hub did not answer: nothing is known about the file."""


def look_up(repository: str, file: str, *, revision: str | None = None) -> HubFile:
    """Look up a file on the hub, at its newest revision or at a given one."""
    from huggingface_hub import get_hf_file_metadata

    what = f"{repository}: {file}"
    with _translated_errors(what, revision):
        metadata = get_hf_file_metadata(
            _url(repository, file, revision), timeout=_ANSWER_TIMEOUT_S
        )
    etag = metadata.etag or ""
    if not metadata.commit_hash or not metadata.size or not _SHA256.fullmatch(etag):
        raise ProvisionError(
            f"{what}: the hub reports no revision, size and sha256 for it; is "
            "models.*.file in matrix.toml a weights file?"
        )
    return HubFile(
        repository=repository,
        file=file,
        revision=metadata.commit_hash,
        sha256=etag,
        size_bytes=metadata.size,
    )


def cached(wanted: HubFile) -> Path | None:
    """Return the file in the user's hub cache, in any revision with the same bytes."""
    snapshots = _folder(wanted) / "snapshots"
    exact = snapshots / wanted.revision / wanted.file
    if exact.exists():
        return exact
    for path in sorted(snapshots.glob(f"*/{wanted.file}")):
        if path.resolve().name == wanted.sha256 and path.exists():
            return path
    return None


def blob(wanted: HubFile) -> Path:
    """Return where the hub's cache keeps the bytes."""
    return _folder(wanted) / "blobs" / wanted.sha256


def link(wanted: HubFile) -> Path:
    """Give the bytes at `blob` their name in the cache, as the library does."""
    from huggingface_hub import hf_hub_download

    with _translated_errors(f"{wanted.repository}: {wanted.file}", wanted.revision):
        path = hf_hub_download(
            wanted.repository,
            wanted.file,
            revision=wanted.revision,
            endpoint=_endpoint(),
            cache_dir=_cache(),
            etag_timeout=_ANSWER_TIMEOUT_S,
        )
    return Path(path)


def stream(wanted: HubFile, part: Path, *, on_bytes: Callable[[int], None]) -> None:
    """Append the missing bytes to `part`; rewrite it where the hub has no ranges.

    This is one attempt: a lost connection is a HubUnreachableError, and what arrived is
    kept.
    """
    begin = part.stat().st_size if part.exists() else 0
    with _reply(wanted, f"bytes={begin}-" if begin else "") as (headers, chunks):
        continues = headers.get("Content-Range", "").startswith(f"bytes {begin}-")
        with part.open("ab" if continues else "wb", buffering=0) as sink:
            for chunk in chunks:
                sink.write(chunk)
                on_bytes(sink.tell())


def read_begin(wanted: HubFile, *, size_bytes: int) -> bytes:
    """Return the first `size_bytes` of a file, by a range request."""
    begin = bytearray()
    with _reply(wanted, f"bytes=0-{size_bytes - 1}") as (_, chunks):
        for chunk in chunks:
            begin += chunk
            if len(begin) >= size_bytes:  # the hub has no ranges
                break
    return bytes(begin[:size_bytes])


@contextmanager
def _reply(
    wanted: HubFile, range_: str
) -> Iterator[tuple[Mapping[str, str], Iterator[bytes]]]:
    """Yield the headers and the content of a file, or of a range of its bytes."""
    from huggingface_hub import get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status

    headers = {**build_hf_headers(), "Accept-Encoding": "identity"}
    if range_:
        headers["Range"] = range_
    request = get_session().stream(
        "GET",
        _url(wanted.repository, wanted.file, wanted.revision),
        headers=headers,
        follow_redirects=True,
        timeout=_STREAM_TIMEOUT_S,
    )
    what = f"{wanted.repository}: {wanted.file}"
    with _translated_errors(what, wanted.revision), request as reply:
        hf_raise_for_status(reply)
        yield reply.headers, reply.iter_bytes(_CHUNK_BYTES)


def answers(*, timeout_s: float = _ANSWER_TIMEOUT_S) -> bool:
    """Whether the hub replies within the time, the look-up of its name included."""
    from huggingface_hub import get_session
    from huggingface_hub.errors import HTTPError

    statuses: list[int] = []

    def request() -> None:
        try:
            reply = get_session().head(_url("a/b", "c", None), timeout=timeout_s)
        except (HTTPError, OSError):
            return
        statuses.append(reply.status_code)

    thread = threading.Thread(target=request, daemon=True)
    thread.start()
    thread.join(timeout_s)
    return bool(statuses) and statuses[0] < _SERVER_FAILS


@contextmanager
def _translated_errors(what: str, revision: str | None) -> Iterator[None]:
    from huggingface_hub.errors import EntryNotFoundError, HTTPError

    try:
        yield
    except (HTTPError, EntryNotFoundError, OSError) as error:
        raise _translate(error, what, revision) from error


def _translate(error: Exception, what: str, revision: str | None) -> ProvisionError:
    from huggingface_hub import errors

    where = f"{what} at revision {revision}" if revision else what
    for kind, remedy in (
        (errors.GatedRepoError, _GATED),
        (errors.RevisionNotFoundError, _GONE),
        (errors.RemoteEntryNotFoundError, _NO_FILE),
        (errors.RepositoryNotFoundError, _NO_REPOSITORY),
    ):
        if isinstance(error, kind):
            return ProvisionError(f"{where}: {remedy}")
    reason = (str(error) or type(error).__name__).strip().splitlines()[0]
    no_answer = (
        errors.FileMetadataError,
        errors.LocalEntryNotFoundError,
        ConnectionError,
    )
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        if status < _SERVER_FAILS:
            remedy = _GATED if status in _REFUSALS else reason
            return ProvisionError(f"{where}: {remedy}")
    elif isinstance(error, OSError) and not isinstance(error, no_answer):
        return ProvisionError(f"{where}: cannot be written: {reason}")
    return HubUnreachableError(f"{where}: the hub is unreachable: {reason}")


def _url(repository: str, file: str, revision: str | None) -> str:
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repository, file, revision=revision, endpoint=_endpoint())


def _endpoint() -> str | None:
    """Return the hub's address if the user sets one; the library reads it only once."""
    return os.environ.get("HF_ENDPOINT")


def _cache() -> Path:
    from huggingface_hub.constants import HF_HUB_CACHE

    return user_path(os.environ.get("HF_HUB_CACHE", HF_HUB_CACHE))


def _folder(wanted: HubFile) -> Path:
    from huggingface_hub.file_download import repo_folder_name

    return _cache() / repo_folder_name(repo_id=wanted.repository, repo_type="model")
