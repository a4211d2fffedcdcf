"""What one llama.cpp accepts, read from the source of its commit where it is unpacked.

Lists of ours lag behind llama.cpp's, so a pin's own source decides; what the locked
pins have is kept here for machines that have not unpacked them yet.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

_TYPES = re.compile(r"GGML_TYPE_COUNT\s*=\s*(\d+)")
_ARCHITECTURE = re.compile(r'\{\s*LLM_ARCH_\w+,\s*"([^"(]+)"\s*\}')


@dataclass(frozen=True, kw_only=True, slots=True)
class PinLists:
    """Names and numbers that a commit knows; empty or 0 where nobody told."""

    tensor_types: int = 0
    """ggml's types are numbered below this."""
    architectures: frozenset[str] = field(default_factory=frozenset)


_KNOWN = {
    "f49e9178767d557a522618b16ce8694f9ddac628": PinLists(tensor_types=41),
    "f53577432541bb9edc1588c4ef45c66bf07e4468": PinLists(tensor_types=42),
    "9e3b928fd8c9d14dbf15a8768b9fdd7e5c721d66": PinLists(tensor_types=42),
    "0c1e57098bba43ac29e6e3b677cdceebdd22334f": PinLists(tensor_types=43),
}


@cache
def lists_of(commit: str, sources: Path) -> PinLists:
    """Read the lists of a commit from its tree under `sources`, else what is known."""
    known = _KNOWN.get(commit, PinLists())
    tree = sources / commit
    types = _TYPES.search(_text(tree / "ggml/include/ggml.h"))
    names = _ARCHITECTURE.findall(_text(tree / "src/llama-arch.cpp"))
    return PinLists(
        tensor_types=int(types[1]) if types else known.tensor_types,
        architectures=frozenset(names),
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
