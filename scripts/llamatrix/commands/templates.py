"""A chat template that a user names, as a file to serve with."""

from dataclasses import dataclass
from pathlib import Path

from llamatrix.config.complaint import nearest
from llamatrix.config.lock import load_lock, locked_pin
from llamatrix.config.matrix import Matrix, Model
from llamatrix.engines.llama_cpp.templates import (
    VENDOR_FOLDER,
    load_correction,
    provide_template,
)
from llamatrix.errors import MatrixError
from llamatrix.project import Project
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.source import provide_source

VENDOR = "vendor"
"""The word for a model's own template, uncorrected, out of the source tree."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    name: str
    path: Path
    sha256: str


def template_named(
    name: str, model: Model, matrix: Matrix, project: Project, *, flag: str
) -> Template:
    """`vendor`, one of ours such as `qwen35.jinja`, or a file of the user's."""
    ours = {
        file.with_suffix(".jinja").name: file
        for file in sorted((project.root / "templates").glob("*.toml"))
    }
    if name == VENDOR:
        path = _tree(matrix, project) / VENDOR_FOLDER / model.template
    elif name in ours:
        correction = load_correction(ours[name])
        path = provide_template(correction, _tree(matrix, project), project.cache)
    else:
        path = Path(name).expanduser()
    if not path.is_file():
        hint = nearest(name, [VENDOR, *ours])
        raise MatrixError(f"{flag} {name!r}: no such template and no such file{hint}")
    return Template(name=Path(name).name, path=path, sha256=file_sha256(path))


def _tree(matrix: Matrix, project: Project) -> Path:
    lock = load_lock(project.lock_file)
    pin = locked_pin(matrix, lock, matrix.synthetic.template_pin)
    return provide_source(pin, project.cache)
