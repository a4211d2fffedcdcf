"""Which profile a machine gets when its user names none, and why."""

from dataclasses import dataclass

from llamatrix.errors import ProvisionError
from llamatrix.nvml import driver_problem, gpus
from llamatrix.units import bytes_text

_NEED_BYTES = 22 * 2**30


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    profile: str
    reason: str


def choose_profile(named: str | None) -> Choice:
    """`published` needs a CUDA card that can hold its models; all others get `smoke`.

    ProvisionError where a card is here and its driver does not answer.
    """
    if named:
        return Choice(profile=named, reason="as asked")
    cards = sorted(gpus(), key=lambda card: card.memory_bytes)
    need = bytes_text(_NEED_BYTES)
    if not cards and (problem := driver_problem()):
        raise ProvisionError(f"{problem}; or name a profile, e.g. --profile smoke")
    if not cards:
        return Choice(
            profile="smoke", reason=f"no CUDA device found, `published` needs {need}"
        )
    largest = cards[-1]
    card = f"{largest.name} has {bytes_text(largest.memory_bytes)}"
    if largest.memory_bytes < _NEED_BYTES:
        return Choice(profile="smoke", reason=f"{card}, `published` needs {need}")
    return Choice(profile="published", reason=card)
