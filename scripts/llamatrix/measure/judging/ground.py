"""Where an agent's programs run while they are judged: given by the caller."""

from msgspec import Struct

WORKSPACE = "{workspace}"


class Ground(Struct, frozen=True, kw_only=True):
    environment: dict[str, str]
    """All of it: nothing is inherited. `uv` is found on its `PATH`."""
    prefix: tuple[str, ...] = ()
    """Put before `uv run …`: a sandbox. `{workspace}` in it is the folder judged."""
    requests: str | None = None
    """The stand-ins' log; None where the real services are asked."""
    bwrap: str | None = None
    """For `parse_confined`; None where there is no sandbox."""
    lost: str | None = None
    """A file that is there when the prefix could not do its work, and says why."""
    secrets: tuple[str, ...] = ()
    """What must appear neither in code nor in findings."""
