"""Read from a commit's unpacked source which types, flags and architectures it accepts.

Lists kept here would lag behind llama.cpp, so a pin's own source decides. What the
locked pins have is listed for machines that have not unpacked them yet.
"""

import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import msgspec

from llamatrix.config.cell import EngineCell
from llamatrix.config.load import READ_COMMITS, unknown_split, unknown_types
from llamatrix.config.matrix import Server, Sweep
from llamatrix.errors import ProvisionError

_BENCH_FLAGS = {
    "n_cpu_moe": "-ncmoe",
    "override_tensor": "-ot",
    "no_kv_offload": "-nkvo",
    "split_mode": "-sm",
    "tensor_split": "-ts",
    "main_gpu": "-mg",
}
"""By key of a sweep, what llama-bench calls it where the key is set."""
_TYPES = re.compile(r"GGML_TYPE_COUNT\s*=\s*(\d+)")
_BENCH_LIST = re.compile(r"ggml_type_from_name\(.*?GGML_TYPE_COUNT", re.DOTALL)
_COMPARED = re.compile(r's == "(\w+)"')
_SERVER_LIST = re.compile(r"kv_cache_types = \{.*?\}", re.DOTALL)
_SPLIT_MODES = re.compile(r"--split-mode <([a-z|]+)>")
_TYPE_NAME = re.compile(r"GGML_TYPE_(\w+)")
_ARCHITECTURE = re.compile(r'\{\s*LLM_ARCH_\w+,\s*"([^"(]+)"\s*\}')


class UnknownFlagError(ProvisionError):
    """A pin does not accept a value of the matrix."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PinLists:
    """Names and numbers that a commit knows; empty or 0 where unknown."""

    tensor_types: int = 0
    """ggml's types are numbered below this."""
    architectures: frozenset[str] = field(default_factory=frozenset)
    bench_cache_types: tuple[str, ...] = ()
    server_cache_types: tuple[str, ...] = ()
    split_modes: tuple[str, ...] = ()


_KNOWN = {
    "f49e9178767d557a522618b16ce8694f9ddac628": PinLists(tensor_types=41),
    "f53577432541bb9edc1588c4ef45c66bf07e4468": PinLists(tensor_types=42),
    "9e3b928fd8c9d14dbf15a8768b9fdd7e5c721d66": PinLists(tensor_types=42),
    "0c1e57098bba43ac29e6e3b677cdceebdd22334f": PinLists(tensor_types=43),
}


@cache
def lists_of(commit: str, sources: Path) -> PinLists:
    """Read the lists of a commit from its tree under `sources`, else those kept here."""
    known = _KNOWN.get(commit, PinLists())
    tree = sources / commit
    types = _TYPES.search(_text(tree / "ggml/include/ggml.h"))
    names = _ARCHITECTURE.findall(_text(tree / "src/llama-arch.cpp"))
    program = _text(tree / "tools/llama-bench/llama-bench.cpp")
    bench, modes = _BENCH_LIST.search(program), _SPLIT_MODES.search(program)
    server = _SERVER_LIST.search(_text(tree / "common/arg.cpp"))
    return PinLists(
        tensor_types=int(types[1]) if types else known.tensor_types,
        architectures=frozenset(names),
        bench_cache_types=tuple(_COMPARED.findall(bench[0]) if bench else ()),
        server_cache_types=tuple(
            name.lower() for name in _TYPE_NAME.findall(server[0] if server else "")
        ),
        split_modes=tuple(modes[1].split("|") if modes else ()),
    )


def require_known_flags(cell: EngineCell, sources: Path) -> None:
    """Refuse a cache type or split mode that the pin does not accept, by its own source.

    This is for commits whose lists the plan does not know; without unpacked source
    nothing is refused.
    """
    if cell.locked.commit in READ_COMMITS:
        return
    lists = lists_of(cell.locked.commit, sources)
    for flags, path, known in (
        (getattr(cell, "sweep", None), "sweeps", lists.bench_cache_types),
        (getattr(cell, "server", None), "servers", lists.server_cache_types),
    ):
        if isinstance(flags, Sweep | Server) and known:
            key = getattr(cell, f"{path[:-1]}_key", "*")
            where = f"matrix.toml: {path}.{key}"
            for line in (
                *unknown_types(flags, where, known=known, pin=cell.pin_key),
                *unknown_split(flags, where, known=lists.split_modes, pin=cell.pin_key),
            ):
                raise UnknownFlagError(line)


def without_unknown_flags(sweep: Sweep, tree: Path) -> tuple[Sweep, tuple[str, ...]]:
    """Return the sweep without the flags that a tree's llama-bench lacks, and these."""
    program = _text(tree / "tools/llama-bench/llama-bench.cpp")
    defaults = {at.name: at.default for at in msgspec.structs.fields(Sweep)}
    unknown = {
        key: flag
        for key, flag in _BENCH_FLAGS.items()
        if program
        and getattr(sweep, key) != defaults[key]
        and f'"{flag}"' not in program
    }
    without = {key: defaults[key] for key in unknown}
    return msgspec.structs.replace(sweep, **without), tuple(unknown.values())


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
