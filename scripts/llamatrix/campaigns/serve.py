"""`invoke serve`: a model of the matrix, served until Ctrl-C."""

from llamatrix.campaigns.launching import cell_to_serve, launch_of
from llamatrix.project import find_project
from llamatrix.serve.foreground import serve_in_foreground


def serve(*, model: str, pin: str, profile: str, port: int) -> None:
    """Print URL, memory and a ready OpenCode configuration; wait for Ctrl-C."""
    project = find_project()
    cell = cell_to_serve(project, profile=profile, model=model, pin=pin)
    launch = launch_of(cell, project, profile=profile, port=port)
    log = project.logs / f"serve-{cell.weights_key}-{cell.pin_key}.log"
    serve_in_foreground(launch, log=log, show=lambda text: print(text, flush=True))
