"""NVIDIA's management library: the GPUs of this machine, their settings, their state.

Quantities as `nvidia-ml-py` (module `pynvml`) reports them; None where a card does not
answer. Nothing here fails on a machine without NVIDIA's driver, library or card. Cards
that CUDA_VISIBLE_DEVICES hides from measured programs are hidden here too.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

import msgspec

from llamatrix.errors import MeasureError

_REASONS = {
    0x001: "gpu_idle",
    0x002: "applications_clocks_setting",
    0x004: "sw_power_cap",
    0x008: "hw_slowdown",
    0x010: "sync_boost",
    0x020: "sw_thermal_slowdown",
    0x040: "hw_thermal_slowdown",
    0x080: "hw_power_brake_slowdown",
    0x100: "display_clock_setting",
}
"""Bits of `nvmlClocksEventReasons`, by the names nvidia-smi gives them."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    name: str
    memory_bytes: int
    driver: str
    compute_capability: str
    """Major.minor, for example `8.9`."""
    power_cap_w: float | None = None
    """The enforced power limit; a condition of every speed measured on the card."""
    power_cap_missing: str = ""
    """Why it is unknown, in the driver's words; empty if it is known."""
    power_default_w: float | None = None
    """The card's factory limit."""

    @property
    def power_cap_text(self) -> str:
        if self.power_cap_w is None:
            return f"power cap not known ({self.power_cap_missing or 'older record'})"
        return f"power cap {self.power_cap_w:.0f} W"


@dataclass(frozen=True, kw_only=True, slots=True)
class GpuProcess:
    """A process that computes on a card."""

    pid: int
    """As the driver sees it: a container may number processes differently."""
    used_bytes: int | None


@dataclass(frozen=True, slots=True)
class Card:
    """One card of an open library; any property may be None."""

    library: ModuleType
    index: int
    handle: object

    @property
    def name(self) -> str | None:
        return self._text("nvmlDeviceGetName")

    def answers_to(self, entry: str) -> bool:
        """Whether an entry of CUDA_VISIBLE_DEVICES names this card."""
        if entry.isdigit():
            return int(entry) == self.index
        uuid = self._text("nvmlDeviceGetUUID")
        return bool(entry) and uuid is not None and uuid.startswith(entry)

    @property
    def sm_mhz(self) -> int | None:
        return self._clock("NVML_CLOCK_SM")

    @property
    def memory_mhz(self) -> int | None:
        return self._clock("NVML_CLOCK_MEM")

    @property
    def power_w(self) -> float | None:
        """Averaged over up to a second by newer cards."""
        milliwatt = self._number("nvmlDeviceGetPowerUsage")
        return None if milliwatt is None else milliwatt / 1000

    @property
    def energy_mj(self) -> int | None:
        """Millijoules since the driver was loaded: only differences mean something."""
        return self._number("nvmlDeviceGetTotalEnergyConsumption")

    @property
    def celsius(self) -> int | None:
        kind = getattr(self.library, "NVML_TEMPERATURE_GPU", 0)
        return self._number("nvmlDeviceGetTemperature", kind)

    @property
    def throttle_reasons(self) -> tuple[str, ...] | None:
        """Why the clocks are not higher; empty where nothing limits them."""
        bits = self._number("nvmlDeviceGetCurrentClocksEventReasons")
        if bits is None:
            bits = self._number("nvmlDeviceGetCurrentClocksThrottleReasons")
        if bits is None:
            return None
        return tuple(name for bit, name in _REASONS.items() if bits & bit)

    @property
    def used_bytes(self) -> int | None:
        """All memory in use on the card, the driver's own share included."""
        memory = self._ask("nvmlDeviceGetMemoryInfo")
        return None if memory is None else int(getattr(memory, "used", 0))

    @property
    def processes(self) -> tuple[GpuProcess, ...] | None:
        running = self._ask("nvmlDeviceGetComputeRunningProcesses")
        if not isinstance(running, list | tuple):
            return None
        return tuple(
            GpuProcess(pid=int(process.pid), used_bytes=process.usedGpuMemory)
            for process in running
        )

    def describe(self) -> Gpu:
        """Return what the card is and its settings; NVMLError if it does not answer."""
        pynvml, handle = self.library, self.handle
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        cap_mw, missing = None, ""
        try:
            cap_mw = pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)
        except pynvml.NVMLError as error:
            missing = str(error)
        default_mw = self._number("nvmlDeviceGetPowerManagementDefaultLimit")
        return Gpu(
            name=str(pynvml.nvmlDeviceGetName(handle)),
            memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            driver=str(pynvml.nvmlSystemGetDriverVersion()),
            compute_capability=f"{major}.{minor}",
            power_cap_w=None if cap_mw is None else cap_mw / 1000,
            power_cap_missing=missing,
            power_default_w=None if default_mw is None else default_mw / 1000,
        )

    def _clock(self, kind: str) -> int | None:
        constant = getattr(self.library, kind, None)
        return self._number("nvmlDeviceGetClockInfo", constant)

    def _text(self, question: str) -> str | None:
        answer = self._ask(question)
        return answer if isinstance(answer, str) else None

    def _number(self, question: str, *arguments: object) -> int | None:
        answer = self._ask(question, *arguments)
        return answer if isinstance(answer, int) else None

    def _ask(self, question: str, *arguments: object) -> object:
        """Return the driver's answer; None if it, or the library, has none."""
        function = getattr(self.library, question, None)
        if function is None:
            return None
        try:
            answer: object = function(self.handle, *arguments)
        except self.library.NVMLError:
            return None
        return answer


def find_library() -> ModuleType | None:
    try:
        import pynvml
    except ImportError:
        return None
    module: ModuleType = pynvml
    return module


@contextmanager
def open_cards(library: ModuleType | None) -> Iterator[tuple[Card, ...]]:
    """Yield the CUDA cards that programs see; none without driver, library or card."""
    if library is None or failure_to_open(library) is not None:
        yield ()
        return
    try:
        yield _cards(library)
    finally:
        library.nvmlShutdown()


def failure_to_open(library: ModuleType) -> Exception | None:
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        cause: Exception = error
        return cause
    return None


def read_gpus(library: ModuleType | None) -> tuple[Gpu, ...]:
    """Describe the cards; skip those that do not answer."""
    known = []
    with open_cards(library) as cards:
        for card in cards:
            try:
                known.append(card.describe())
            except card.library.NVMLError:
                continue
    return tuple(known)


@cache
def gpus() -> tuple[Gpu, ...]:
    """Return the cards of this machine, queried once."""
    return read_gpus(find_library())


def card_indices(library: ModuleType | None) -> tuple[tuple[int, ...], int]:
    """Return the indices of the cards that programs see, and how many the host has."""
    with open_cards(library) as cards:
        visible = tuple(card.index for card in cards)
        try:
            return visible, library.nvmlDeviceGetCount() if library else 0
        except library.NVMLError:  # type: ignore[union-attr]  # there is a library
            return (), 0


def _cards(library: ModuleType) -> tuple[Card, ...]:
    try:
        count = library.nvmlDeviceGetCount()
        handles = [library.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
    except library.NVMLError:
        return ()
    return _visible(
        tuple(Card(library, index, handle) for index, handle in enumerate(handles))
    )


def _visible(cards: tuple[Card, ...]) -> tuple[Card, ...]:
    """Return the cards that CUDA programs see, by CUDA_VISIBLE_DEVICES.

    By CUDA's programming guide (environment variables) it lists numbers or prefixes of
    UUIDs, and counts up to the first that matches no card. Numbers count the fastest card
    first unless CUDA_DEVICE_ORDER is PCI_BUS_ID; NVIDIA's library counts by bus.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return cards
    order = os.environ.get("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    by_bus = order == "PCI_BUS_ID" or len({card.name for card in cards}) == 1
    chosen: list[Card] = []
    for entry in visible.split(","):
        fitting = [card for card in cards if card.answers_to(entry.strip())]
        if len(fitting) != 1:
            break
        if entry.strip().isdigit() and not by_bus:
            raise MeasureError(
                f"CUDA_VISIBLE_DEVICES={visible} counts the cards by their speed, and "
                "they differ: set CUDA_DEVICE_ORDER=PCI_BUS_ID as well (then it is "
                "nvidia-smi's number), or name the card's UUID (nvidia-smi -L)"
            )
        chosen += fitting
    return tuple(chosen)


_NVIDIA, _DISPLAY = "0x10de", "0x03"
_NOT_LOADED, _NO_LIBRARY, _MISMATCH = 9, 12, 18
_WORDS = {_MISMATCH: "Driver/library version mismatch"}
"""nvidia-smi's words where the library has others."""
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
    """Return why a present card does not answer, with the remedy; empty without a card.

    A machine without a card may have the library, whose driver is then not loaded.
    """
    error = library and failure_to_open(library)
    if library and not error:
        library.nvmlShutdown()
        return ""
    code = getattr(error, "value", None)
    if not card_on_bus and (not error or code in (_NOT_LOADED, _NO_LIBRARY, None)):
        return ""
    what = _WORDS.get(code or 0) or str(error or "no NVIDIA library").rstrip(".")
    remedy = _REMEDIES.get(code or 0, "`nvidia-smi` should list it; see `dmesg`")
    return f"a card is here, but its driver does not answer: {what}; {remedy}"


@cache
def driver_problem() -> str:
    """Return the problem of this machine's driver, queried once."""
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
