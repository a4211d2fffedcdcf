"""A card that is here, and NVIDIA's driver that does not answer for it."""

from functools import cache
from pathlib import Path
from types import ModuleType

from llamatrix.nvml import failure_to_open, find_library

_NVIDIA, _DISPLAY = "0x10de", "0x03"
_NOT_LOADED, _NO_LIBRARY, _MISMATCH = 9, 12, 18
_WORDS = {_MISMATCH: "Driver/library version mismatch"}
"""As nvidia-smi puts it, where the library has other words."""
_REMEDIES = {
    4: "give this user access to /dev/nvidia*",
    _NOT_LOADED: "load it (`sudo modprobe nvidia`); `dmesg` says why it is not loaded",
    _NO_LIBRARY: "install NVIDIA's driver; under Nix, set CUDA_DRIVER_DIR to the folder "
    "of this host's driver",
    15: "the card fell off the bus: reboot",
    _MISMATCH: "reboot, or reload the kernel module (`sudo rmmod nvidia_uvm nvidia_drm "
    "nvidia_modeset nvidia && sudo modprobe nvidia`); under Nix, set CUDA_DRIVER_DIR to "
    "the folder of this host's driver",
}
"""By `nvmlReturn_t`."""


def read_problem(library: ModuleType | None, *, card_on_bus: bool) -> str:
    """Why a card that is here does not answer, and what now; empty without a card.

    Machines without a card may have the library, and its driver is then not loaded.
    """
    error = library and failure_to_open(library)
    if library and not error:
        library.nvmlShutdown()
        return ""
    code = getattr(error, "value", None)
    if not card_on_bus and (not error or code in (_NOT_LOADED, _NO_LIBRARY, None)):
        return ""
    what = _WORDS.get(code or 0) or str(error or "no NVIDIA library").rstrip(".")
    return f"a card is here, but its driver does not answer: {what}; {_remedy(code)}"


def _remedy(code: int | None) -> str:
    return _REMEDIES.get(code or 0, "`nvidia-smi` should list it; see `dmesg`")


@cache
def driver_problem() -> str:
    """The problem of this machine's driver, asked once."""
    return read_problem(find_library(), card_on_bus=_card_on_bus())


def _card_on_bus() -> bool:
    """Whether the kernel sees a display or compute device of NVIDIA's."""
    for device in Path("/sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = ((device / key).read_text() for key in ("vendor", "class"))
        except OSError:
            continue
        if vendor.strip() == _NVIDIA and kind.startswith(_DISPLAY):
            return True
    return False
