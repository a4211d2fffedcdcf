"""What of this machine's memory a server may take, and the context that it allows."""

from dataclasses import dataclass

from llamatrix.errors import MeasureError
from llamatrix.host import available_bytes
from llamatrix.measure.context.generation import SMALLEST_TOKENS
from llamatrix.measure.context.result import Ceiling, CeilingReason
from llamatrix.nvml import find_library, gpus, open_cards
from llamatrix.provision.weights.fit import (
    MemorySettings,
    MemoryShape,
    largest_context,
    memory_need,
)
from llamatrix.units import bytes_text

_HOST_SHARE = 0.9
"""Of what is free: the machine itself needs the rest."""
_PAD = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class Room:
    name: str
    budget_bytes: int
    limited: bool
    """Whether the user allows less than there is."""
    others_bytes: int = 0
    """What other processes hold, as far as the driver tells."""


def room_here(allowed_bytes: int | None, *, on_card: bool) -> Room:
    """What is free of the card, of the host without one; or less, where allowed less."""
    room = _card_room() if on_card else _host_room()
    if allowed_bytes is None or allowed_bytes >= room.budget_bytes:
        return room
    return Room(
        name=f"{room.name}, cut to {bytes_text(allowed_bytes)}",
        budget_bytes=allowed_bytes,
        limited=True,
        others_bytes=room.others_bytes,
    )


def ceiling_in(
    room: Room,
    shape: MemoryShape,
    use: MemorySettings,
    most_tokens: int | None,
    model: str,
) -> Ceiling:
    """The largest context that fits by prediction; MeasureError where none does."""
    fits = largest_context(shape, use, card_bytes=room.budget_bytes) or 0
    if fits < 2 * SMALLEST_TOKENS:
        least = memory_need(shape, use, context_tokens=2 * SMALLEST_TOKENS).total
        held = (
            f" (others hold {bytes_text(room.others_bytes)})"
            if room.others_bytes
            else ""
        )
        raise MeasureError(
            f"{model} needs {bytes_text(least)} by prediction at "
            f"{2 * SMALLEST_TOKENS} tokens, {room.name} has "
            f"{bytes_text(room.budget_bytes)} to use{held}; `invoke fit` shows what "
            "fits which card"
        )
    by = (
        CeilingReason.TRAINING if fits >= shape.trained_tokens else CeilingReason.MEMORY
    )
    if most_tokens and most_tokens < fits:
        fits, by = most_tokens // _PAD * _PAD, CeilingReason.ASKED
    return Ceiling(
        tokens=fits,
        by=by,
        budget_bytes=room.budget_bytes,
        others_bytes=room.others_bytes,
    )


def _host_room() -> Room:
    return Room(
        name="the host",
        budget_bytes=int(available_bytes() * _HOST_SHARE),
        limited=False,
    )


def _card_room() -> Room:
    """Of all cards together: the server spreads over them."""
    known = gpus()
    with open_cards(find_library()) as cards:
        held = [card.used_bytes or 0 for card in cards]
        processes = [one for card in cards for one in card.processes or ()]
        named = [one.used_bytes for one in processes if one.used_bytes is not None]
    if not known:
        raise MeasureError(
            "NVIDIA's library shows no card, and this build needs one; `nvidia-smi` "
            "should list it. `--profile smoke` runs on the CPU"
        )
    return Room(
        name=", ".join(f"{one.name} ({bytes_text(one.memory_bytes)})" for one in known),
        budget_bytes=sum(one.memory_bytes for one in known) - sum(held),
        limited=False,
        others_bytes=sum(named),
    )
