"""What decides a model's memory, read off the metadata of its GGUF file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from llamatrix.errors import ProvisionError
from llamatrix.provision.fit import AttentionLayers, MemoryShape, delta_state_bytes

Value = int | float | str | bool | list[int] | list[bool]


def shape_of_file(path: Path) -> MemoryShape:
    """Read the header only; ProvisionError names what the file does not tell."""
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
    except (OSError, ValueError) as error:
        raise ProvisionError(f"{path}: no GGUF that can be read: {error}") from error
    sizes = {str(one.name): int(one.n_bytes) for one in reader.tensors}
    wanted = _Metadata(
        path,
        {
            name: field.contents()
            for name, field in reader.fields.items()
            if not name.startswith("tokenizer.")
        },
    )
    table = sizes.get("token_embd.weight")
    if table is None:
        raise ProvisionError(f"{path}: has no tensor token_embd.weight")
    rows = next(one for one in reader.tensors if one.name == "token_embd.weight").shape
    return MemoryShape(
        tensor_bytes=sum(sizes.values()),
        embedding_bytes=table,
        tied="output.weight" not in sizes,
        attention=_attention(wanted),
        state_bytes=_state_bytes(wanted),
        embedding=wanted.number("embedding_length"),
        vocabulary=int(rows[1]),
        trained_tokens=wanted.number("context_length"),
    )


class _Metadata:
    """The keys of one file, asked without their architecture."""

    def __init__(self, path: Path, values: Mapping[str, Value]) -> None:
        self._path = path
        self._values = values
        self._prefix = str(values.get("general.architecture", ""))

    def get(self, key: str) -> Value | None:
        return self._values.get(f"{self._prefix}.{key}")

    def number(self, key: str) -> int:
        value = self.get(key)
        if not isinstance(value, int):
            raise ProvisionError(
                f"{self._path}: metadata has no number {self._prefix}.{key}; memory of "
                "this architecture cannot be foretold"
            )
        return value

    def per_layer(self, key: str) -> Sequence[int]:
        """A number for each layer, given once or as a list."""
        value, layers = self.get(key), self.number("block_count")
        if isinstance(value, list):
            return [int(one) for one in value]
        return [self.number(key)] * layers


def _attention(wanted: _Metadata) -> tuple[AttentionLayers, ...]:
    """Layers that keep keys and values: all, or every n-th where there is an interval."""
    heads = wanted.per_layer("attention.head_count_kv")
    windowed = wanted.get("attention.sliding_window_pattern")
    interval = wanted.get("full_attention_interval")
    widths: dict[tuple[int, int | None], int] = {}
    for layer, count in enumerate(heads):
        if isinstance(interval, int) and (layer + 1) % interval:
            continue
        inside = isinstance(windowed, list) and bool(windowed[layer])
        length = "attention.key_length" + ("_swa" if inside else "")
        window = wanted.number("attention.sliding_window") if inside else None
        key = (count * wanted.number(length), window)
        widths[key] = widths.get(key, 0) + 1
    return tuple(
        AttentionLayers(count=count, kv_width=width, window_tokens=window)
        for (width, window), count in sorted(
            widths.items(), key=lambda one: one[0][1] or 0
        )
    )


def _state_bytes(wanted: _Metadata) -> int:
    interval = wanted.get("full_attention_interval")
    if not isinstance(interval, int):
        return 0
    layers = wanted.number("block_count")
    return delta_state_bytes(
        layers=layers - layers // interval,
        state=wanted.number("ssm.state_size"),
        key_heads=wanted.number("ssm.group_count"),
        value_heads=wanted.number("ssm.time_step_rank"),
        conv_kernel=wanted.number("ssm.conv_kernel"),
    )
