"""A bundle: a certificate and everything that it follows from, in one tar archive.

The archive is a small checkout: matrix, lock, reference set, records, certificate. Its
first member, `SHA256SUMS`, has the form that `sha256sum --check` reads. The same files
always give the same bytes.
"""

import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping

from llamatrix.errors import ReportError

SUMS = "SHA256SUMS"


def pack(files: Mapping[str, bytes]) -> bytes:
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(files.items())
    )
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in ((SUMS, sums.encode()), *sorted(files.items())):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return out.getvalue()


def unpack(content: bytes, *, where: str) -> dict[str, bytes]:
    """Return the files of an archive that `pack` wrote.

    Raise ReportError that names what is changed: a file, or bytes outside of all files.
    """
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                files[member.name] = file.read() if file else b""
    except (tarfile.TarError, ValueError, EOFError, UnicodeError) as error:
        raise ReportError(f"{where}: not a readable archive: {error}") from error
    sums = files.pop(SUMS, b"").decode(errors="replace")
    changed = list(_changed(sums, files))
    if not changed and pack(files) != content:
        changed.append(
            "bytes outside the files differ from those that llamatrix writes"
        )
    if changed:
        raise ReportError(
            "\n".join((f"{where}: changed", *(f"  {x}" for x in changed)))
        )
    return files


def _changed(sums: str, files: Mapping[str, bytes]) -> Iterator[str]:
    listed = {}
    for line in sums.splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    if not listed:
        yield f"{SUMS}: missing or empty"
    for name in sorted({*listed, *files}):
        if name not in files:
            yield f"{name}: named in {SUMS}, but missing"
        elif name not in listed:
            yield f"{name}: not named in {SUMS}"
        elif (digest := hashlib.sha256(files[name]).hexdigest()) != listed[name]:
            yield f"{name}: sha256 is {digest[:12]}…, {SUMS} has {listed[name][:12]}…"
