"""What a sandbox without a network is served on its loopback beside the model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from llamatrix.provision.python import provide_bytecode
from llamatrix.proxy.serving import loopback_listener, serving
from llamatrix.trials.stubs.context7_api import PAGES, context7_api
from llamatrix.trials.stubs.request_log import RequestLog, Watched, read_requests
from llamatrix.trials.stubs.wheel_index import wheel_index


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """Ports of this machine's loopback; a sandbox may show them under others."""

    context7: int
    """Context7's back end: `CONTEXT7_API_URL`."""
    packages: int
    """The package index; see `wheel_index.indexed`."""
    bytecode: Path
    """The folder with the compiled modules of its wheels; see `provide_bytecode`."""
    log: Path
    """What both are asked; see `request_log`."""

    def pages_served(self) -> int:
        """How many pages of documentation were handed out so far."""
        asked = read_requests(self.log)
        return sum((each.path, each.status) == (PAGES, 200) for each in asked)


@contextmanager
def services(*, wheels: Path, log: Path) -> Iterator[Services]:
    """Serve both until the block is left; what they are asked is appended to `log`."""
    log.parent.mkdir(parents=True, exist_ok=True)
    log.touch()
    requests = RequestLog(log)
    with ExitStack() as held:
        ports: list[int] = []
        for app in (context7_api(), wheel_index(wheels)):
            listener = held.enter_context(loopback_listener())
            held.enter_context(serving(Watched(app, requests), [listener]))
            ports.append(listener.getsockname()[1])
        yield Services(
            context7=ports[0],
            packages=ports[1],
            bytecode=provide_bytecode(wheels),
            log=log,
        )
