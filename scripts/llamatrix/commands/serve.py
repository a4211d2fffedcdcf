"""`invoke serve`: a model of the matrix, served until Ctrl-C."""

from llamatrix.commands.flags import Serving
from llamatrix.commands.launching import cell_to_serve, launch_of
from llamatrix.commands.session import own_folder
from llamatrix.engines.llama_cpp.foreground import serve_in_foreground
from llamatrix.project import find_project


def serve(asked: Serving) -> None:
    """Print URL, memory and a ready OpenCode configuration; wait for Ctrl-C."""
    project = find_project()
    folder = own_folder(asked.weights_dir)
    cell = cell_to_serve(
        project,
        profile=asked.profile,
        model=asked.model,
        pin=asked.pin,
        weights_dir=folder,
    )
    launch = launch_of(
        cell,
        project,
        profile=asked.profile,
        port=asked.port,
        weights_dir=folder,
    )
    log = project.logs / f"serve-{cell.weights_key}-{cell.pin_key}.log"
    serve_in_foreground(launch, log=log, show=lambda text: print(text, flush=True))
