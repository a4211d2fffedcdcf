"""A real llama-server with tiny synthetic weights; built and unpacked once per user."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from tests.shipped import ROOT, shipped_cells

from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock, locked_pin
from llamatrix.config.matrix import Matrix
from llamatrix.engines.protocol import Launch
from llamatrix.provision.build import provide_build
from llamatrix.provision.source import provide_source
from llamatrix.provision.templates import VENDOR_FOLDER
from llamatrix.provision.weights.provide import sample_text
from llamatrix.provision.weights.synthetic.models import Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.write import write

PINS = ("april", "current")
NO_REPACK = ("--no-repack",)
"""Some virtual machines show AMX and fault on it; nothing is measured here."""


def matrix() -> Matrix:
    return load_matrix(ROOT / "matrix.toml")


def source_tree(pin: str, cache: Path) -> Path:
    lock = load_lock(ROOT / "matrix.lock")
    return provide_source(locked_pin(matrix(), lock, pin), cache)


def real_launch(
    pin: str, model: str, *, cache: Path, folder: Path, ctx_size: int = 16384
) -> Launch:
    asked = matrix()
    lock = load_lock(ROOT / "matrix.lock")
    cell = msgspec.structs.replace(
        shipped_cells("smoke")[0],
        pin_key=pin,
        pin=asked.pins[pin],
        locked=locked_pin(asked, lock, pin),
    )
    template = (
        source_tree("current", cache) / VENDOR_FOLDER / asked.models[model].template
    )
    weights = folder / f"{model}.gguf"
    spec = SyntheticSpec(
        model=model,
        scale=Scale.TINY,
        chat_template=template.read_text(),
        sample=sample_text(source_tree("current", cache)),
    )
    write(spec, weights, on_bytes=lambda _: None)
    return Launch(
        program=provide_build(cell, cache).program("llama-server"),
        weights=weights,
        alias=model,
        model=msgspec.structs.replace(asked.models[model], ctx_size=ctx_size),
        server=asked.servers["published"],
        template=template,
        commit=cell.locked.commit,
        extra=NO_REPACK,
    )


@contextmanager
def nothing_of_it_left(folder: Path) -> Iterator[None]:
    """Assert that no process with a file of this folder on its command line is left."""
    yield
    tries = 100
    while (left := _mentioning(str(folder))) and tries:
        tries -= 1
        time.sleep(0.05)
    assert left == []


def _mentioning(text: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if text in line:
                found.append(line)
    return found
