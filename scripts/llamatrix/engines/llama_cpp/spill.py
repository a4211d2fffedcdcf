"""Detects in llama.cpp's log that layers, buffers or operations are not on the card.

A server that spills still answers, several times slower; its speed would be recorded as
if it were the card's.
"""

import re

_LAYERS = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUFFER = re.compile(
    r": +(\w+) +(model|KV|RS) buffer size = +([\d.]+) MiB", re.MULTILINE
)
_SPLITS = re.compile(r"graph splits = (\d+)(?: \(with bs=\d+\), (\d+))?")
_ON_HOST = ("CPU",)
"""`CPU`, `CPU_Mapped`, `CPU_REPACK`; `CUDA_Host` is staging memory of the card."""
_NORMAL_SPLITS = 2
"""One for the embeddings on the host, one for the rest on the card."""
_ROUNDING_MIB = 1.0


def off_card(log_text: str, *, host_bytes: int) -> tuple[str, ...]:
    """Return layers and buffers on the host, beyond `host_bytes` of weights."""
    signs = []
    for on_card, all_layers in _LAYERS.findall(log_text):
        if int(on_card) < int(all_layers):
            signs.append(f"only {on_card} of {all_layers} layers are on the card")
    for kind, sizes in _on_host(log_text).items():
        allowed = host_bytes / 2**20 if kind == "model" else 0.0
        if sum(sizes) > allowed + _ROUNDING_MIB:
            signs.append(f"{sum(sizes):.0f} MiB of {_WORDS[kind]} are on the host")
    return tuple(signs)


def split_graph(log_text: str) -> tuple[str, ...]:
    """Return a sign if the graph alternates between both, as for an unsupported operation."""
    splits = [
        int(count) for pair in _SPLITS.findall(log_text) for count in pair if count
    ]
    if splits and max(splits) > _NORMAL_SPLITS:
        return (f"the graph is split {max(splits)} times between card and host",)
    return ()


_WORDS = {"model": "weights", "KV": "the cache", "RS": "the state"}


def _on_host(log_text: str) -> dict[str, list[float]]:
    sizes: dict[str, list[float]] = {}
    for place, kind, mib in _BUFFER.findall(log_text):
        if place.startswith(_ON_HOST):
            sizes.setdefault(kind, []).append(float(mib))
    return sizes
