"""Describe this machine: the facts that belong beside every number."""

import hashlib
import os
import platform
import re
from functools import cache
from pathlib import Path

import msgspec

from llamatrix.measured_environment import SHARED
from llamatrix.nvml import Gpu, gpus
from llamatrix.units import bytes_text

_CPUINFO = Path("/proc/cpuinfo")
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


class Host(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The hardware and the kernel; never a host name, a user name or a path."""

    slug: str
    """The name of the hardware class: the store keeps one folder for each."""
    cpu_model: str
    physical_cores: int
    logical_cores: int
    memory_bytes: int
    kernel: str
    governor: str | None = None
    """The CPU frequency governor; None where the kernel has none (most VMs)."""
    gpus: tuple[Gpu, ...] = ()

    @property
    def summary(self) -> str:
        """One line for a table's caption."""
        parts = [
            *(
                f"{gpu.name} ({bytes_text(gpu.memory_bytes)}, {gpu.power_cap_text})"
                for gpu in self.gpus
            ),
            f"{self.cpu_model}, {self.physical_cores} cores",
            f"{bytes_text(self.memory_bytes)} RAM",
        ]
        return ", ".join(parts)


@cache
def this_host() -> Host:
    import psutil

    cards = gpus()
    cpu_model, physical = _processor()
    logical = os.cpu_count() or 1
    memory_bytes = int(psutil.virtual_memory().total)
    return Host(
        slug=class_of(cards),
        cpu_model=cpu_model,
        physical_cores=physical,
        logical_cores=logical,
        memory_bytes=memory_bytes,
        kernel=f"{platform.system()} {platform.release()}",
        governor=_GOVERNOR.read_text().strip() if _GOVERNOR.exists() else None,
        gpus=cards,
    )


def class_of(cards: tuple[Gpu, ...]) -> str:
    """Return the hardware class of this machine for a program that sees these cards."""
    shared = "-shared" if os.environ.get(SHARED) else ""
    return slug(*_processor(), cards) + shared


def _processor() -> tuple[str, int]:
    """Return the model and the number of physical cores."""
    import psutil

    physical = psutil.cpu_count(logical=False) or os.cpu_count() or 1
    return _cpuinfo("model name") or platform.machine(), physical


def available_bytes() -> int:
    """Memory that programs may still take before the machine swaps or kills."""
    import psutil

    return int(psutil.virtual_memory().available)


def slug(cpu_model: str, physical_cores: int, cards: tuple[Gpu, ...]) -> str:
    """Return a readable name and a short digest of the hardware: `rtx-4090-1f3c9a`.

    Memory is left out: the size that the kernel reports changes from boot to boot.
    """
    names = [card.name for card in cards]
    facts = [cpu_model, str(physical_cores), *names]
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:6]
    name = names[0] if names else f"{cpu_model} {physical_cores} cores"
    name = re.sub(r"\((R|TM)\)|NVIDIA|GeForce|Processor|CPU|@.*", "", name)
    words = re.findall(r"[a-z0-9.]+", name.lower())
    return "-".join([*words, digest])


@cache
def cpu_features() -> str:
    """Return a short digest of the CPU's instruction set, for native builds."""
    flags = " ".join(sorted(cpu_flags())) or platform.machine()
    return hashlib.sha256(flags.encode()).hexdigest()[:8]


def cpu_flags() -> frozenset[str]:
    """Return instruction sets by the kernel's names (`avx2`); empty if unknown."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features") or "").split())


def _cpuinfo(key: str) -> str | None:
    """Return the first value of a key in `/proc/cpuinfo`."""
    try:
        text = _CPUINFO.read_text()
    except OSError:
        return None
    match = re.search(rf"^{re.escape(key)}\s*:\s*(.+)$", text, re.MULTILINE)
    return match[1].strip() if match else None
