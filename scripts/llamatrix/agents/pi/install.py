"""Pi and the Node.js that runs it: pinned, verified, in the cache."""

import re
from pathlib import Path

from llamatrix import shell
from llamatrix.agents.pi.agent import FOLDER
from llamatrix.agents.protocol import InstalledAgent
from llamatrix.config.lock import LockedNpm
from llamatrix.provision.npm_tree import provide_pinned_tree

_FIRST_NODE = (22, 19)
_VERSION_TIMEOUT_S = 30


def install_pi(
    pin: str, locked: LockedNpm, *, root: Path, cache: Path
) -> InstalledAgent:
    tree = provide_pinned_tree("pi", pin, locked, root=root, cache=cache)
    return InstalledAgent(programs={}, shown={FOLDER: tree})


def unfit_node(node: Path | None) -> str | None:
    """Return why Pi cannot run with this Node.js, or None."""
    wanted = ".".join(map(str, _FIRST_NODE))
    if node is None:
        return f"node: not found, and Pi needs {wanted} or newer"
    ended = shell.run([str(node), "--version"], timeout_s=_VERSION_TIMEOUT_S)
    numbers = re.match(r"v(\d+)\.(\d+)\.", ended.out) if ended.ok else None
    if numbers is None:
        return f"node: does not start: {ended.complaint()}"
    if (int(numbers[1]), int(numbers[2])) < _FIRST_NODE:
        return f"node: {ended.out.strip()} is too old: Pi needs {wanted} or newer"
    return None
