"""Wheels of a few hundred bytes, for package indexes that tests create."""

import hashlib
import zipfile
from pathlib import Path


def made_wheel(
    folder: Path, name: str, *, version: str = "1.0", python: str = ">=3.11"
) -> Path:
    """Write a wheel with one module that prints its name."""
    stem = f"{name}-{version}"
    needs = f"Requires-Python: {python}\n" if python else ""
    tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    texts = {
        f"{name}.py": f"print({name!r})\n",
        f"{stem}.dist-info/METADATA": (
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needs}"
        ),
        f"{stem}.dist-info/WHEEL": tags,
        f"{stem}.dist-info/RECORD": "",
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in texts.items():
            archive.writestr(member, text)
    return path


def entry(wheel: Path, *, marker: str = "") -> str:
    """Return the entry of a wheel in a list with hashes, as uv writes it."""
    name, version, *_ = wheel.name.split("-")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    return f"{name}=={version}{marker} \\\n    --hash=sha256:{digest}\n"
