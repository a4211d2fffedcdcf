"""What is wrong with a TOML file, in one line: key path, value, nearest name.

msgspec says what it expected but not which entry of a table it met it in, so the
tree is walked beside its types and each leaf is decoded on its own.
"""

import difflib
from collections.abc import Iterable, Iterator
from types import UnionType
from typing import Annotated, TypeGuard, get_args, get_origin

import msgspec

_LONGEST = 100
"""Characters of a value in a complaint."""


def complaints(raw: object, kind: object, path: str = "") -> Iterator[str]:
    """All the places where `raw`, read by `tomllib`, is not of type `kind`."""
    if get_origin(kind) is Annotated and isinstance(raw, dict | list):
        kind = get_args(kind)[0]
    if get_origin(kind) is UnionType and isinstance(raw, dict):
        structs = [get_arg for get_arg in get_args(kind) if _is_struct(get_arg)]
        kind = structs[0] if len(structs) == 1 else kind
    if _is_struct(kind):
        if isinstance(raw, dict):
            yield from _in_struct(raw, kind, path)
        else:
            yield f"{path}: expected a table, got {_shown(raw)}"
    elif get_origin(kind) is dict and isinstance(raw, dict):
        key_kind, value_kind = get_args(kind)
        for key, value in raw.items():
            yield from _at_leaf(key, key_kind, _join(path, key))
            yield from complaints(value, value_kind, _join(path, key))
    elif get_origin(kind) is tuple and isinstance(raw, list):
        for index, value in enumerate(raw):
            yield from complaints(value, get_args(kind)[0], f"{path}[{index}]")
    else:
        yield from _at_leaf(raw, kind, path)


def _is_struct(kind: object) -> TypeGuard[type[msgspec.Struct]]:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known name is close, else the list of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if names else ""


def _in_struct(
    raw: dict[str, object], kind: type[msgspec.Struct], path: str
) -> Iterator[str]:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for key, value in raw.items():
        if key not in fields:
            hint = nearest(key, fields.keys() - raw.keys())
            yield f"{_join(path, key)}: unknown key{hint}"
        else:
            yield from complaints(value, fields[key].type, _join(path, key))
    for key, field in fields.items():
        if field.required and key not in raw:
            yield f"{_join(path, key)}: missing"


def _at_leaf(raw: object, kind: object, path: str) -> Iterator[str]:
    try:
        msgspec.convert(raw, type=kind)
    except msgspec.ValidationError as error:
        yield f"{path}: {_plain(str(error))}, got {_shown(raw)}{_choice(raw, kind)}"


def _plain(message: str) -> str:
    """Msgspec's own words, in our tone: lower case, no JSON path, no second value."""
    text = message.split(" - at `", maxsplit=1)[0].split(", got ", maxsplit=1)[0]
    if text.startswith("Invalid enum value"):
        return "no known word"
    return text[0].lower() + text[1:]


def _choice(raw: object, kind: object) -> str:
    kinds = get_args(kind) or (kind,)  # of `SplitMode | None`
    words = [
        str(member)
        for kind in kinds
        for member in getattr(kind, "__members__", {}).values()
    ]
    return nearest(raw, words) if words and isinstance(raw, str) else ""


def _join(path: str, key: str) -> str:
    shown = key if key.isprintable() else repr(key)
    return f"{path}.{shown}" if path else shown


def _shown(raw: object) -> str:
    text = repr(raw)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
