"""From a cell to its running program: build, weights, server flags and chat template."""

from dataclasses import replace
from pathlib import Path

import msgspec

from llamatrix.compare.arms import Template
from llamatrix.config.cell import Cell, EngineCell
from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context
from llamatrix.config.expand import select_profile
from llamatrix.config.lock import (
    locked_pin,
    locked_template,
    numbered_pin,
)
from llamatrix.config.matrix import Model, Server
from llamatrix.engines.protocol import Launch
from llamatrix.errors import MatrixError
from llamatrix.project import user_path
from llamatrix.provision.build import provide_build
from llamatrix.provision.hardware import require_device
from llamatrix.provision.integrity import file_sha256
from llamatrix.provision.resolve import with_named_pin
from llamatrix.provision.resolve_weights import with_known_weights
from llamatrix.provision.source import provide_source
from llamatrix.provision.templates import (
    VENDOR_FOLDER,
    find_correction,
    load_correction,
    provide_template,
    require_pinned,
)
from llamatrix.provision.weights.provide import provide_weights

VENDOR = "vendor"
"""Names a model's own template, uncorrected, from the source tree."""


def cell_to_serve(context: Context, *, model: str = "", pin: str = "") -> Cell:
    """The cell of a model, at the profile's first pin or another one.

    A published file that is unresolved in the lock is resolved, as a measuring command
    would: from the user's folder, else by the hub.
    """
    matrix, profile = context.matrix, context.profile
    known = select_profile(matrix, profile).models
    key = model or known[0]
    if key not in known:
        hint = nearest(key, known)
        raise MatrixError(f"--model {key!r}: not in profile {profile!r}{hint}")
    if pin:
        context, pin = with_named_pin(context, pin, flag="--pin")
        matrix = context.matrix
    cells = (cell for cell in context.plan().speed if cell.model_key == key)
    cell = next(cells, None)
    if cell is None:
        raise MatrixError(
            f"profile {profile!r} has no speed cell of {key!r}: choose one that has, by "
            "--profile"
        )
    if cell.published:
        context = with_known_weights(context, [cell], ask_hub=True)
        cell = next(one for one in context.plan().speed if one.id == cell.id)
    if not pin:
        context, pin = with_named_pin(context, cell.pin_key, flag="--pin")
    return msgspec.structs.replace(
        cell,
        pin_key=pin,
        pin=numbered_pin(matrix, context.lock, pin),
        locked=locked_pin(matrix, context.lock, pin),
    )


def launch_of(cell: EngineCell, context: Context, *, port: int = 0) -> Launch:
    """The launch of a server of the cell, with the profile's server flags."""
    require_device(cell.build_key, cell.build)
    server = context.matrix.servers[context.server_key]
    weights = provide_weights(
        cell, context.project.cache, weights_dir=context.weights_dir
    )
    return replace(launch_with(cell, server, weights.path, context), port=port or None)


def launch_with(
    engine: EngineCell,
    server: Server,
    weights: Path,
    context: Context,
    template: Template | None = None,
) -> Launch:
    """The launch of a server on these weights, built where the cache lacks it.

    A template given here serves in place of the model's own.
    """
    require_device(engine.build_key, engine.build)
    launch = Launch(
        program=provide_build(engine, context.project.cache).program("llama-server"),
        weights=weights,
        alias=engine.model_key,
        model=engine.model,
        server=server,
        commit=engine.locked.reported_commit,
    )
    if template:
        return replace(launch, template=template.path, template_pin=template.sha256)
    return with_corrected_template(launch, context)


def with_corrected_template(launch: Launch, context: Context) -> Launch:
    """The launch with the model's own corrected template, where it names one."""
    name = launch.model.chat_template_file
    if name is None:
        return launch
    pinned = locked_template(context.matrix, context.lock, launch.alias)
    if pinned is None:
        return launch
    correction = find_correction(name, context.project.root / "templates")
    require_pinned(Path(name).stem, correction, pinned)
    tree = template_source(context)
    return replace(
        launch,
        template=provide_template(correction, tree, context.project.cache),
        template_pin=pinned.result_sha256,
    )


def template_source(context: Context) -> Path:
    matrix = context.matrix
    pin = locked_pin(matrix, context.lock, matrix.synthetic.template_pin)
    return provide_source(pin, context.project.cache)


def template_named(name: str, model: Model, context: Context, *, flag: str) -> Template:
    """`vendor`, one of ours such as `qwen35.jinja`, or a file of the user's."""
    ours = {
        file.with_suffix(".jinja").name: file
        for file in sorted((context.project.root / "templates").glob("*.toml"))
    }
    if name == VENDOR:
        path = template_source(context) / VENDOR_FOLDER / model.template
    elif name in ours:
        correction = load_correction(ours[name])
        tree = template_source(context)
        path = provide_template(correction, tree, context.project.cache)
    else:
        path = user_path(name)
    if not path.is_file():
        hint = nearest(name, [VENDOR, *ours])
        raise MatrixError(f"{flag} {name!r}: no such template and no such file{hint}")
    return Template(name=Path(name).name, path=path, sha256=file_sha256(path))
