"""`invoke add`: a complete entry for a GGUF, here or on the hub, appended to matrix.toml."""

import re
import tempfile
from pathlib import Path

import msgspec
import tomli_w

from llamatrix.commands.flags import AddFlags
from llamatrix.config.context import key_of, unused_name
from llamatrix.config.load import file_problem, load_matrix
from llamatrix.config.matrix import Matrix, Model
from llamatrix.errors import MatrixError, ProvisionError
from llamatrix.progress import say
from llamatrix.project import find_project, user_path
from llamatrix.provision.weights import hub
from llamatrix.provision.weights.gguf_header import GgufHeader
from llamatrix.provision.weights.gguf_model import read_model
from llamatrix.provision.weights.local_model import (
    completed,
    fitting_context,
    sampling_of,
)

_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)/(?P<file>[^~\\]+\.gguf)")
_KEY = re.compile(r"[a-z0-9][a-z0-9-]*")
_BEGINS = tuple(2**20 * mib for mib in (8, 32, 128))
"""How much of a file is read to find its header: a vocabulary has several MiB."""


def add(flags: AddFlags) -> str:
    """Append the entry, unless the run is dry; return it with the next command."""
    project = find_project()
    matrix = load_matrix(project.matrix_file)
    model, header = _described(flags.file)
    if problem := file_problem(model.file):
        raise MatrixError(problem)
    _refuse_duplicate(model, matrix)
    if flags.name and (flags.name in matrix.models or not _KEY.fullmatch(flags.name)):
        taken = flags.name in matrix.models
        why = "is taken" if taken else "is no key: lower case, digits and hyphens"
        raise MatrixError(f"--name {flags.name!r}: {why}")
    stem = Path(model.file).stem
    key = flags.name or key_of(stem, matrix.models)
    model = msgspec.structs.replace(model, name=unused_name(stem, matrix))
    fields = msgspec.to_builtins(completed(model, header)) | sampling_of(header)
    defaults = msgspec.to_builtins(Model(file=""))
    kept = {name: fields[name] for name in fields if fields[name] != defaults[name]}
    entry = tomli_w.dumps({"models": {key: {**kept, "temp": fields["temp"]}}})
    if not flags.dry_run:
        _append(entry, project.matrix_file)
    measure = f"`invoke bench --model {key}` measures it"
    if model.repository:
        measure = (
            f"`invoke lock` pins the file; name {key!r} in the models of a profile with "
            'weights = "hub" to measure it'
        )
    return f"{entry}\n{measure}\n"


def _described(name: str) -> tuple[Model, GgufHeader]:
    """Return where a model lies and its header; MatrixError for what is neither."""
    path = user_path(name)
    if path.is_file():
        path = path.absolute()
        home = Path.home()
        shown = f"~/{path.relative_to(home)}" if path.is_relative_to(home) else path
        return Model(file=str(shown), ctx_size=fitting_context(path)), read_model(path)
    on_hub = _HUB_NAME.fullmatch(name)
    if not on_hub or name.startswith("."):
        raise MatrixError(
            f"{name!r}: no such file; a file on the hub is written OWNER/REPOSITORY/FILE.gguf"
        )
    return _on_hub(Model(repository=on_hub["repository"], file=on_hub["file"]))


def _on_hub(model: Model) -> tuple[Model, GgufHeader]:
    """Read the header of a file on the hub, without the rest of it."""
    wanted = hub.look_up(model.repository, model.file)
    where = f"{model.repository}/{model.file}"
    with tempfile.TemporaryDirectory(prefix="llamatrix-add-") as folder:
        path = Path(folder) / Path(model.file).name
        problem = ""
        for size in _BEGINS:
            with path.open("wb") as file:
                file.write(hub.read_begin(wanted, size_bytes=size))
                file.truncate(wanted.size_bytes)  # the rest is a hole
            try:
                header = read_model(path)
            except ProvisionError as error:
                problem = str(error).removeprefix(f"{path}: ")
            else:
                context_tokens = fitting_context(path)
                return msgspec.structs.replace(model, ctx_size=context_tokens), header
            if size >= wanted.size_bytes:
                break
    raise ProvisionError(f"{where}: {problem}")


def _refuse_duplicate(model: Model, matrix: Matrix) -> None:
    place = user_path(model.file).resolve()
    for key, other in matrix.models.items():
        same = (
            other.local and Path(other.file).resolve() == place
            if model.local
            else (other.repository, other.file) == (model.repository, model.file)
        )
        if same:
            raise MatrixError(f"{model.file}: is models.{key} of matrix.toml already")


def _append(entry: str, matrix_file: Path) -> None:
    """Append to the file, once the whole is known to load; nothing else is touched."""
    path = matrix_file.resolve()
    text = path.read_bytes()
    text += b"\n" * (1 if text.endswith(b"\n") else 2) + entry.encode()
    aside = path.with_name(f".{path.name}.new")
    try:
        aside.write_bytes(text)
        aside.chmod(path.stat().st_mode)
        load_matrix(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    say(f"written: {matrix_file.name}")
