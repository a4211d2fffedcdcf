"""Whether a model left the card: what llama.cpp's log says of layers and buffers.

A server that spills still answers, several times slower; the speed would be recorded as
if it were the card's.
"""

import re

_LAYERS = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
_BUFFER = re.compile(
    r": +(\w+) +(model|KV|RS) buffer size = +([\d.]+) MiB", re.MULTILINE
)
_SPLITS = re.compile(r"graph splits = (\d+)(?: \(with bs=\d+\), (\d+))?")
_ON_HOST = ("CPU",)
"""`CPU`, `CPU_Mapped`, `CPU_REPACK`; `CUDA_Host` is the staging memory of a card."""
_NORMAL_SPLITS = 2
"""The look-up of embeddings on the host, and the rest on the card."""
_ROUNDING_MIB = 1.0


def spilled(log_text: str, *, host_bytes: int) -> tuple[str, ...]:
    """What lies or runs on the host and should not; empty where all is on the card.

    `host_bytes` may lie there: the table of token embeddings.
    """
    return (*off_card(log_text, host_bytes=host_bytes), *split_graph(log_text))


def off_card(log_text: str, *, host_bytes: int) -> tuple[str, ...]:
    """Layers and buffers on the host, beyond `host_bytes` of weights."""
    found = []
    for on_card, all_layers in _LAYERS.findall(log_text):
        if int(on_card) < int(all_layers):
            found.append(f"only {on_card} of {all_layers} layers are on the card")
    for kind, sizes in _on_host(log_text).items():
        allowed = host_bytes / 2**20 if kind == "model" else 0.0
        if sum(sizes) > allowed + _ROUNDING_MIB:
            found.append(f"{sum(sizes):.0f} MiB of {_WORDS[kind]} are on the host")
    return tuple(found)


def split_graph(log_text: str) -> tuple[str, ...]:
    """Work that goes back and forth: an operation that the card's code lacks does it."""
    splits = [int(one) for pair in _SPLITS.findall(log_text) for one in pair if one]
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
