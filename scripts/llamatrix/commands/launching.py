"""From the matrix to a server's launch: program, weights, flags and template of a cell."""

from dataclasses import replace
from pathlib import Path

import msgspec

from llamatrix.commands.choice import choose_profile
from llamatrix.commands.session import weights_known
from llamatrix.config.cell import Cell, Engine
from llamatrix.config.complaint import nearest
from llamatrix.config.expand import expand, select_profile
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock, locked_pin, locked_template, locked_weights
from llamatrix.config.matrix import Matrix, Server
from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.engines.llama_cpp.templates import (
    find_correction,
    provide_template,
    require_pinned,
)
from llamatrix.errors import MatrixError
from llamatrix.project import Project
from llamatrix.provision.build import provide_build
from llamatrix.provision.hardware import require_device
from llamatrix.provision.source import provide_source
from llamatrix.provision.weights.provide import provide_weights


def cell_to_serve(
    project: Project,
    *,
    profile: str = "",
    model: str = "",
    pin: str = "",
    weights_dir: Path | None = None,
) -> Cell:
    """The profile's cell of a model, at the profile's first pin or another one.

    A published file that is unresolved in the lock is resolved, as a measuring command
    would: from the user's folder, else by the hub.
    """
    matrix = load_matrix(project.matrix_file)
    lock = load_lock(project.lock_file)
    name = choose_profile(profile or None).profile
    known = select_profile(matrix, name).models
    key = model or known[0]
    if key not in known:
        hint = nearest(key, known)
        raise MatrixError(f"--model {key!r}: not in profile {name!r}{hint}")
    if pin and pin not in matrix.pins:
        raise MatrixError(f"--pin {pin!r}: unknown pin{nearest(pin, matrix.pins)}")
    cells = (one for one in expand(matrix, lock, name) if one.model_key == key)
    cell = next(cells, None)
    if cell is None:
        raise MatrixError(
            f"profile {name!r} has no speed cell of {key!r}: choose one that has, by "
            "--profile"
        )
    if cell.published:
        lock = weights_known(matrix, lock, [cell], project, weights_dir, ask_hub=True)
        cell = msgspec.structs.replace(
            cell, published=locked_weights(matrix, lock, key)
        )
    if not pin or pin == cell.pin_key:
        return cell
    return msgspec.structs.replace(
        cell,
        pin_key=pin,
        pin=matrix.pins[pin],
        locked=locked_pin(matrix, lock, pin),
    )


def launch_of(
    cell: Cell,
    project: Project,
    *,
    profile: str = "",
    port: int = 0,
    weights_dir: Path | None = None,
) -> Launch:
    """Everything a server of the cell needs, provided where the cache lacks it."""
    require_device(cell.build_key, cell.build)
    matrix = load_matrix(project.matrix_file)
    server = server_of(matrix, choose_profile(profile or None).profile)
    weights = provide_weights(cell, project.cache, weights_dir=weights_dir)
    launch = launch_with(cell, matrix.servers[server], weights.path, project)
    return replace(launch, port=port or None)


def server_of(matrix: Matrix, profile: str) -> str:
    """The name of the flags that a profile's models are served with."""
    server = select_profile(matrix, profile).server
    if server is None:
        raise MatrixError(
            f"matrix.toml: profiles.{profile}.server: missing: name one of "
            f"{', '.join(matrix.servers)} to serve this profile's models"
        )
    return server


def launch_with(
    engine: Engine, server: Server, weights: Path, project: Project
) -> Launch:
    """An engine's server on these weights, built where the cache lacks it."""
    require_device(engine.build_key, engine.build)
    launch = Launch(
        program=provide_build(engine, project.cache).program("llama-server"),
        weights=weights,
        alias=engine.model_key,
        model=engine.model,
        server=server,
        commit=engine.locked.commit,
    )
    return with_corrected_template(launch, load_matrix(project.matrix_file), project)


def with_corrected_template(launch: Launch, matrix: Matrix, project: Project) -> Launch:
    """The launch with the model's own corrected template, where it names one."""
    name = launch.model.chat_template_file
    lock = load_lock(project.lock_file)
    pinned = locked_template(matrix, lock, launch.alias)
    if name is None or pinned is None:
        return launch
    correction = find_correction(name, project.root / "templates")
    require_pinned(Path(name).stem, correction, pinned)
    locked = locked_pin(matrix, lock, matrix.synthetic.template_pin)
    tree = provide_source(locked, project.cache)
    return replace(
        launch,
        template=provide_template(correction, tree, project.cache),
        template_pin=pinned.result_sha256,
    )
