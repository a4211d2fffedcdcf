"""`invoke merge`: the records of several machines in one store."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from llamatrix.commands.flags import MergeFlags
from llamatrix.errors import RecordError
from llamatrix.exclusive import exclusive
from llamatrix.progress import say
from llamatrix.project import find_project
from llamatrix.records.store import NewerRecordError, append_lines, check_line

_ROOTS = ("records", "regress", "by-hand")
_TRAJECTORIES = "trajectories"
_DAMAGED = ".damaged"


def merge(flags: MergeFlags) -> str:
    """Append the lines of other stores that this one lacks; return the numbers.

    Lines are compared by their bytes, and no line of either side is changed. A damaged
    line goes to a `.damaged` file beside the records and is named. Nothing is written if
    a folder holds a line of a newer llamatrix.
    """
    reports = find_project().reports
    sources = [_source(name) for name in flags.folders.split(",") if name.strip()]
    read = [
        (folder, path.relative_to(folder), *_lines(path))
        for folder in sources
        for path in _record_files(folder)
    ]
    new = doubles = aside = files = 0
    with exclusive(reports / "records" / ".lock", purpose="merging records"):
        for _, name, whole, damaged in read:
            added = append_lines(reports / name, whole)
            new, doubles = new + added, doubles + len(whole) - added
            if damaged:
                append_lines((reports / name).with_suffix(_DAMAGED), damaged.values())
            for reason in damaged:
                aside += 1
                say(f"kept aside in {name.with_suffix(_DAMAGED)}: {reason}")
        for folder in sources:
            files += sum(_copied(path, folder, reports) for path in _others(folder))
    return (
        f"{new} new records from {len(sources)} folders, {doubles} already here, "
        f"{aside} damaged lines kept aside, {files} other files copied\n"
    )


def _source(name: str) -> Path:
    folder = Path(name.strip())
    if folder.name in _ROOTS and not any((folder / root).is_dir() for root in _ROOTS):
        folder = folder.parent
    if not any((folder / root).is_dir() for root in _ROOTS):
        raise RecordError(
            f"{name}: no folder `records` in it; name the folder `reports` of another "
            "checkout, or one that `invoke table --out` wrote"
        )
    return folder


def _record_files(folder: Path) -> Iterator[Path]:
    for root in _ROOTS:
        for path in sorted((folder / root).rglob("*.jsonl")):
            if _TRAJECTORIES not in path.parts:
                yield path


def _lines(path: Path) -> tuple[list[bytes], dict[str, bytes]]:
    """Return the whole lines, and by its reason each damaged or incomplete one."""
    *complete, torn = path.read_bytes().split(b"\n")
    whole, damaged = [], {}
    for number, line in enumerate(complete, start=1):
        try:
            check_line(line, where=f"{path}:{number}")
        except NewerRecordError:
            raise
        except RecordError as error:
            damaged[str(error)] = line
        else:
            whole.append(line)
    if torn:
        damaged[f"{path}:{len(complete) + 1}: cut short by a crash"] = torn
    return whole, damaged


def _others(folder: Path) -> Iterator[Path]:
    """Yield trajectories, measured bandwidth and what earlier merges kept aside."""
    for root in _ROOTS:
        for path in sorted((folder / root).rglob("*")):
            kept = path.suffix != ".jsonl" or _TRAJECTORIES in path.parts
            if kept and path.is_file() and not path.name.startswith(".lock"):
                yield path


def _copied(path: Path, folder: Path, reports: Path) -> bool:
    target = reports / path.relative_to(folder)
    if target.exists():
        if target.read_bytes() != path.read_bytes():
            say(f"not copied: {path} differs from the file of this checkout")
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path, target)
    return True
