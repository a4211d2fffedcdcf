"""Derive what decides a model's memory from the header of its GGUF file.

The rules are those of llama.cpp's loader (`architectures.py`). An architecture that is
not listed there is treated as plain full attention, and the shape says so.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from llamatrix.provision.pin_source import PinLists
from llamatrix.provision.weights import architectures as known
from llamatrix.provision.weights.fit import AttentionLayers, MemoryShape, bytes_by_layer
from llamatrix.provision.weights.gguf_header import (
    GgufHeader,
    Tensor,
    Value,
    printable,
    refuse,
)
from llamatrix.provision.weights.gguf_model import read_model
from llamatrix.provision.weights.tensor_types import TENSOR_TYPES

_MOST_LAYERS = 512
"""`LLAMA_MAX_LAYERS`"""
_LARGEST_NUMBER = 2**32 - 1


class Metadata:
    """The metadata of one file; keys are given without the architecture's prefix."""

    def __init__(self, header: GgufHeader) -> None:
        self.architecture = header.architecture
        self._path = header.path
        self._values: Mapping[str, Value] = header.metadata
        self.layers = self.number("block_count")
        if not 0 < self.layers <= _MOST_LAYERS:
            self.refuse(
                f"{self.architecture}.block_count is {self.layers:,}; llama.cpp has at "
                f"most {_MOST_LAYERS}"
            )

    def refuse(self, reason: str) -> NoReturn:
        refuse(self._path, reason)

    def get(self, key: str) -> Value:
        return self._values.get(f"{self.architecture}.{key}")

    def has(self, key: str) -> bool:
        return self.get(key) is not None

    def number(self, key: str, default: int | None = None) -> int:
        value = self.get(key)
        if value is None and default is not None:
            return default
        if not isinstance(value, int):
            self.refuse(
                f"metadata has no number {self.architecture}.{key}; memory of this "
                "architecture cannot be estimated without it"
            )
        if not 0 <= value <= _LARGEST_NUMBER:
            self.refuse(f"{self.architecture}.{key} is {value}: no 32-bit number")
        return value

    def per_layer(self, key: str, default: Sequence[int] = ()) -> Sequence[int]:
        """Return a number for each layer, which a file gives once or as an array."""
        value = self.get(key)
        if isinstance(value, tuple):
            if len(value) != self.layers:
                self.refuse(
                    f"{self.architecture}.{key} has {len(value)} entries for "
                    f"{self.layers} layers"
                )
            return [int(item) for item in value]
        if value is None and default:
            return default
        return [self.number(key)] * self.layers

    def keys_with(self, *parts: str) -> tuple[str, ...]:
        return tuple(key for key in self._values if any(part in key for part in parts))


_F32_BYTES = 4


def shape_of_file(
    path: Path, *, commit: str = "", lists: PinLists | None = None
) -> MemoryShape:
    """Return what a model file needs at a pin's commit (default: the newest rules).

    Only headers are read. ProvisionError says why the file is not a model that
    llama.cpp loads, or which number its metadata lacks. A file that needs more than the
    commit's `lists` have is marked as refused.
    """
    header = read_model(path)
    return _Rules(header, Metadata(header), commit, lists or PinLists()).shape()


class _Rules:
    """One file's metadata, interpreted by the rules of one pin."""

    def __init__(
        self, header: GgufHeader, keys: Metadata, commit: str, lists: PinLists
    ) -> None:
        self._header = header
        self._keys = keys
        self._commit = commit
        self._lists = lists
        self._arch = keys.architecture
        self._predicting = keys.number("nextn_predict_layers", 0)
        if self._predicting >= keys.layers:
            keys.refuse(
                f"{self._arch}.nextn_predict_layers is {self._predicting}, of "
                f"{keys.layers} layers"
            )
        self._trunk = keys.layers - self._predicting

    def shape(self) -> MemoryShape:
        keys = self._keys
        tensors = [
            tensor for tensor in self._header.tensors if not self._is_skipped(tensor)
        ]
        table = next(tensor for tensor in tensors if tensor.name == "token_embd.weight")
        host = sum(tensor.bytes for tensor in tensors if self._stays_on_host(tensor))
        tied = all(tensor.name != "output.weight" for tensor in tensors)
        state = sum(self._state_elements(layer) for layer in range(self._trunk))
        layers, experts = bytes_by_layer((one.name, one.bytes) for one in tensors)
        return MemoryShape(
            architecture=self._arch,
            proven=self._arch in known.PROVEN and not self._header.newer_types,
            notes=tuple(self._notes()),
            refusal=self._refusal(),
            tensor_bytes=sum(tensor.bytes for tensor in tensors),
            layer_bytes=layers,
            expert_bytes=experts,
            embedding_bytes=host,
            tied_bytes=table.bytes if tied else 0,
            attention=self._attention(),
            state_bytes=_F32_BYTES * state,
            embedding=keys.number("embedding_length"),
            vocabulary=table.shape[1] if len(table.shape) > 1 else 1,
            trained_tokens=keys.number("context_length"),
        )

    def _notes(self) -> list[str]:
        notes = []
        if self._arch not in known.READ:
            notes.append(
                f"unproven for this architecture: {self._arch!r} is not among those "
                "whose loader was read; every layer is taken for full attention"
            )
            parts = ("sliding_window", ".ssm.", ".wkv.", "indexer", "recurrent")
            odd = self._keys.keys_with(*parts, "shortconv")
            if odd:
                notes.append(f"not accounted for: {printable(', '.join(odd))}")
        elif self._arch not in known.PROVEN:
            notes.append(
                f"unproven for this architecture: {self._arch!r} follows llama.cpp's "
                "loader as read, and was not held against llama-fit-params"
            )
        if self._predicting:
            blocks = "block" if self._predicting == 1 else "blocks"
            notes.append(
                f"{self._predicting} prediction {blocks} (MTP) left out: without speculation its "
                "tensors are skipped and it keeps no cache"
            )
        if newer := self._header.newer_types:
            shown = ", ".join(map(str, newer))
            notes.append(
                f"tensor type {shown} is newer than this reader; its size is taken from "
                "the offsets"
            )
        return notes

    def _refusal(self) -> str:
        """Return why the pin does not load the file; empty where nothing is known."""
        names = self._lists.architectures
        if names and self._arch not in names:
            return f"it knows no architecture {self._arch!r}"
        count = self._lists.tensor_types
        newest = max(tensor.type for tensor in self._header.tensors)
        if count and newest >= count:
            label = TENSOR_TYPES.get(newest, ("", 0, 0))[0]
            shown = f"{newest} ({label})" if label else str(newest)
            return f"it knows no tensor type {shown}"
        april = self._commit in known.APRIL_PINS
        if self._predicting and april and self._arch not in known.APRIL_PREDICTION:
            return f"it knows no prediction block (MTP) of architecture {self._arch!r}"
        return ""

    def _is_skipped(self, tensor: Tensor) -> bool:
        block = re.match(r"blk\.([0-9]{1,4})\.", tensor.name)
        if block is None:
            return False
        return self._trunk <= int(block[1]) < self._keys.layers

    def _stays_on_host(self, tensor: Tensor) -> bool:
        if tensor.name == known.PER_LAYER_TABLE:
            label = TENSOR_TYPES.get(tensor.type, ("", 0, 0))[0]
            return not (self._commit == known.APRIL and label in known.CUDA_READS_ROWS)
        return tensor.name in known.HOST_TENSORS

    def _attention(self) -> tuple[AttentionLayers, ...]:
        if self._arch in known.WITHOUT_CACHE | known.STATE_SPACE | known.RWKV:
            return ()
        kinds = Counter(
            (*self._widths(layer), self._window(layer))
            for layer in range(self._cached_layers())
            if self._has_attention(layer)
        )
        return tuple(
            AttentionLayers(
                count=count, key_width=key, value_width=value, window_tokens=window
            )
            for (key, value, window), count in sorted(
                kinds.items(),
                key=lambda item: (item[0][2] is not None, item[0][2] or 0, item[0][:2]),
            )
            if key or value
        )

    def _cached_layers(self) -> int:
        """Count the first layers, which have their own cache; the others share it."""
        if self._arch == "gemma3n":
            return min(20, self._trunk)
        if self._arch == "gemma4":
            shared = self._keys.number("attention.shared_kv_layers", 0)
            return max(0, self._keys.layers - shared)
        if self._arch == "exaone-moe" and self._commit in known.APRIL_PINS:
            return self._keys.layers
        return self._trunk

    def _key_heads(self) -> Sequence[int]:
        keys = self._keys
        if keys.has("attention.head_count_kv"):
            return keys.per_layer("attention.head_count_kv")
        return keys.per_layer("attention.head_count")

    def _head_length(self, name: str, *, windowed: bool) -> int:
        keys = self._keys
        if windowed and keys.has(f"attention.{name}_length_swa"):
            return keys.number(f"attention.{name}_length_swa")
        if keys.has(f"attention.{name}_length"):
            return keys.number(f"attention.{name}_length")
        heads = keys.per_layer("attention.head_count")[0]
        return keys.number("embedding_length") // heads if heads else 0

    def _widths(self, layer: int) -> tuple[int, int]:
        """Return the elements of one token's keys and values in a layer."""
        heads = self._key_heads()[layer]
        windowed = self._window(layer) is not None
        latent = all(
            self._keys.number(f"attention.{name}_length_mla", 0)
            for name in ("key", "value")
        )
        value = 0 if latent else heads * self._head_length("value", windowed=windowed)
        return heads * self._head_length("key", windowed=windowed), value

    def _window(self, layer: int) -> int | None:
        """Return the sliding window of a layer; None where it attends to everything."""
        keys = self._keys
        if self._arch == "lfm2":
            return keys.number("attention.sliding_window", 0) or None
        rule = known.WINDOWS.get(self._arch)
        if rule is None or rule.layers not in (None, self._trunk):
            return None
        named = keys.number("attention.sliding_window", rule.tokens or 0)
        if not named and (rule.optional or rule.fixed):
            return None
        if rule.optional and not keys.has("attention.sliding_window"):
            return None
        tokens = rule.tokens if rule.fixed else named
        if not tokens:
            tokens = keys.number("attention.sliding_window")
        return tokens if self._is_windowed(layer, rule) else None

    def _is_windowed(self, layer: int, rule: known.Window) -> bool:
        pattern = self._keys.get("attention.sliding_window_pattern")
        older = self._commit in known.PATTERN_BY_NUMBER_ONLY
        if isinstance(pattern, tuple) and not (rule.period and older):
            if layer >= len(pattern):
                self._keys.refuse(
                    f"{self._arch}.attention.sliding_window_pattern has {len(pattern)} "
                    f"entries for {self._keys.layers} layers"
                )
            return bool(pattern[layer])
        if not rule.period:
            if isinstance(pattern, int) and older:
                return bool(pattern)
            self._keys.refuse(
                f"metadata has no array {self._arch}.attention.sliding_window_pattern; "
                "llama.cpp does not load the model without it"
            )
        period = pattern if isinstance(pattern, int) else rule.period
        if period == 0:
            return True
        if rule.full_first:
            return layer % period != 0
        return layer % period < period - 1

    def _has_attention(self, layer: int) -> bool:
        if self._arch in known.NEMOTRON and self._forward_width(layer):
            return False
        return not self._is_recurrent(layer) or self._arch == "falcon-h1"

    def _forward_width(self, layer: int) -> int:
        keys = self._keys
        return keys.per_layer("feed_forward_length", [0] * keys.layers)[layer]

    def _is_recurrent(self, layer: int) -> bool:
        keys = self._keys
        if self._arch in known.STATE_SPACE | known.RWKV | {"falcon-h1"}:
            return True
        if self._arch in known.DELTA_NET:
            flags = keys.get("attention.recurrent_layers")
            if isinstance(flags, tuple) and self._commit not in (
                known.APRIL,
                known.LATE_APRIL,
            ):
                return bool(flags[layer]) if layer < len(flags) else False
            return bool((layer + 1) % (keys.number("full_attention_interval", 4) or 1))
        if self._arch in known.BY_KEY_HEADS:
            return self._key_heads()[layer] == 0
        if self._arch in known.NEMOTRON:
            return not self._key_heads()[layer] and not self._forward_width(layer)
        return False

    def _state_elements(self, layer: int) -> int:
        """Count the fp32 elements that a recurrent layer keeps of one sequence."""
        if not self._is_recurrent(layer):
            return 0
        keys = self._keys
        embedding = keys.number("embedding_length")
        if self._arch in known.RWKV:
            shifts = keys.number("token_shift_count", 2)
            return shifts * embedding + embedding * keys.number("wkv.head_size")
        if self._arch in ("lfm2", "lfm2moe"):
            return embedding * (keys.number("shortconv.l_cache") - 1)
        kernel = keys.number("ssm.conv_kernel")
        if self._arch == "kimi-linear":
            length = keys.number("kda.head_dim")
            heads = keys.per_layer("attention.head_count")[0]
            convolution = 3 * (kernel - 1 if kernel else 3) * heads * length
            return convolution + length * length * heads
        size = keys.number("ssm.state_size")
        default = (
            size * keys.number("ssm.time_step_rank")
            if self._arch in known.DELTA_NET
            else None
        )
        inner = keys.number("ssm.inner_size", default)
        grouped = self._arch not in ("mamba", "jamba")
        groups = keys.number("ssm.group_count", 0) if grouped else 0
        channels = inner + 2 * groups * size
        return max(0, kernel - 1) * channels + size * inner
