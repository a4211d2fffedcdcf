"""Where an agent's programs run while they are judged: given by the caller."""

from pathlib import Path

from msgspec import Struct

WORKSPACE = "{workspace}"
WORKSPACE_INSIDE = "."
"""As judged programs name it: they start in it."""
INSIDE = Path(__file__).with_name("inside")
"""Our programs that run beside judged ones."""


class ExecutionEnvironment(Struct, frozen=True, kw_only=True):
    environment: dict[str, str]
    """All of it: nothing is inherited. `uv` is found on its `PATH`."""
    prefix: tuple[str, ...] = ()
    """Put before `uv run …`: a sandbox. `{workspace}` in it is the folder judged."""
    requests: str | None = None
    """The stand-ins' log; None where the real services are asked."""
    bwrap: str | None = None
    """For `parse_sandboxed`; None where there is no sandbox."""
    lost: str | None = None
    """A file that is there when the prefix could not do its work, and says why."""
    inside: str = ""
    """The folder with `judging/inside`, as judged programs see it."""
    private: tuple[str, ...] = ()
    """Folders emptied between two judged programs, so that neither finds the other's."""
    installed: str = ""
    """Where uv keeps what it installs, in a sandbox of the judged programs' own."""
    title: str = ""
    """What the post service's first title begins with, in a world where it is another."""
    agents_requests: str | None = None
    """The stand-ins' log of the agent's own session, where there was one."""
    switch: int = 0
    """The port, as judged programs see it, at which the service's world is changed;
    0 where it cannot be."""
    switch_key: str = ""
    """The file for the key that the switch is to take words by."""
    secrets: tuple[str, ...] = ()
    """What must appear neither in code nor in findings."""
