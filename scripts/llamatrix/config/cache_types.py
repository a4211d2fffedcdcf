"""Which KV cache types the programs of a pin take.

llama-bench and llama-server have a list each, the same at the four commits that were
read (`ggml_type_from_name` in llama-bench.cpp, `kv_cache_types` in arg.cpp). A pin of
another commit is checked when its source is here (`provision/pin_source.py`).
"""

from collections.abc import Collection, Iterator

from llamatrix.config.matrix import Server, Sweep

BENCH = ("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl")
SERVER = ("f32", *BENCH)
READ_COMMITS = frozenset(
    {
        "f49e9178767d557a522618b16ce8694f9ddac628",
        "f53577432541bb9edc1588c4ef45c66bf07e4468",
        "9e3b928fd8c9d14dbf15a8768b9fdd7e5c721d66",
        "0c1e57098bba43ac29e6e3b677cdceebdd22334f",
    }
)
UNQUANTISED = frozenset({"f32", "f16", "bf16"})


def program_of(flags: Sweep | Server) -> str:
    return "llama-bench" if isinstance(flags, Sweep) else "llama-server"


def unknown_types(
    flags: Sweep | Server, path: str, *, known: Collection[str], pin: str
) -> Iterator[str]:
    """Complain, with the pin's own list, about each type that its program refuses."""
    for key in ("cache_type_k", "cache_type_v"):
        name = getattr(flags, key)
        if name not in known:
            yield (
                f"{path}.{key}: {name!r} is none of the types that {program_of(flags)} "
                f"of {pin} takes: {', '.join(known)}"
            )
