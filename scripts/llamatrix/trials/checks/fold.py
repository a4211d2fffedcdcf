"""Texts that an expression of constants comes to, without running it.

`"AIza" + "Sy…"`, `"".join(["AI", "za"])`, `base64.b64decode("…").decode()`, `"…"[::-1]`,
`chr(65)`, `bytes.fromhex("…")`: what a key may be hidden behind in source code.
"""

import ast
import base64
import binascii
import codecs
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Value = str | bytes | int | tuple["Value", ...]
_LONGEST = 10_000
_DEEPEST = 40
_MOST_STEPS = 2_000_000
"""For a whole file: names that stand for others can double the work with each line."""
_DECODERS: Mapping[str, Callable[[str | bytes], bytes]] = {
    "b64decode": base64.b64decode,
    "standard_b64decode": base64.standard_b64decode,
    "urlsafe_b64decode": base64.urlsafe_b64decode,
    "b32decode": base64.b32decode,
    "b16decode": base64.b16decode,
    "b85decode": base64.b85decode,
    "a85decode": base64.a85decode,
    "unhexlify": binascii.unhexlify,
    "a2b_hex": binascii.a2b_hex,
    "a2b_base64": binascii.a2b_base64,
}


class _NotConstantError(Exception):
    pass


_NO_TEXT = (
    *(_NotConstantError, RecursionError, ValueError, TypeError, LookupError),
    *(OverflowError, MemoryError),
)


def constant_texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and text of every expression that is made of constants only."""
    fold = _Fold(names=_assigned_once(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.expr):
            try:
                value = fold.value(node)
            except _NO_TEXT:
                continue
            if isinstance(value, tuple):
                value = "".join(each for each in value if isinstance(each, str))
            if isinstance(value, bytes):
                value = value.decode("latin-1")
            if isinstance(value, str):
                yield node.lineno, value


def _assigned_once(tree: ast.Module) -> Mapping[str, ast.expr]:
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return {name: values[0] for name, values in found.items() if len(values) == 1}


@dataclass(kw_only=True, slots=True)
class _Fold:
    names: Mapping[str, ast.expr]
    depth: int = 0
    steps_left: int = _MOST_STEPS

    def value(self, node: ast.expr) -> Value:
        self.depth += 1
        self.steps_left -= 1
        try:
            if self.depth > _DEEPEST or self.steps_left < 0:
                raise _NotConstantError
            value = self._value(node)
        finally:
            self.depth -= 1
        if not isinstance(value, int) and len(value) > _LONGEST:
            raise _NotConstantError
        return value

    def _value(self, node: ast.expr) -> Value:  # noqa: PLR0911  one for each kind
        match node:
            case ast.Constant(value=str() | bytes() | int() as value):
                return value
            case ast.Name(id=name) if name in self.names:
                return self.value(self.names[name])
            case ast.List() | ast.Tuple():
                return tuple(self.value(each) for each in node.elts)
            case ast.JoinedStr():
                return "".join(str(self.value(_inner(each))) for each in node.values)
            case ast.BinOp():
                return self._operation(node)
            case ast.Subscript(slice=ast.Slice() as part):
                return self._slice(self.value(node.value), part)
            case ast.UnaryOp(
                op=ast.USub(), operand=ast.Constant(value=int() as number)
            ):
                return -number
            case ast.Call():
                return self._call(node)
            case _:
                raise _NotConstantError

    def _operation(self, node: ast.BinOp) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(node.op, ast.Mod) and isinstance(left, str):
            return left % right
        if isinstance(node.op, ast.Add):
            if isinstance(left, str) and isinstance(right, str):
                return left + right
            if isinstance(left, bytes) and isinstance(right, bytes):
                return left + right
            if isinstance(left, tuple) and isinstance(right, tuple):
                return left + right
        raise _NotConstantError

    def _slice(self, whole: Value, part: ast.Slice) -> Value:
        places: list[int | None] = []
        for each in (part.lower, part.upper, part.step):
            place = self.value(each) if each else None
            if not isinstance(place, int | None):
                raise _NotConstantError
            places.append(place)
        if isinstance(whole, int):
            raise _NotConstantError
        return whole[slice(*places)]

    def _call(self, node: ast.Call) -> Value:
        """A handful of functions and methods that put texts together."""
        given = [self.value(each) for each in node.args]
        if isinstance(node.func, ast.Name):
            return _function(node.func.id, given)
        if not isinstance(node.func, ast.Attribute):
            raise _NotConstantError
        try:
            return _function(node.func.attr, given)
        except _NotConstantError:
            return _method(self.value(node.func.value), node.func.attr, given)


def _inner(node: ast.expr) -> ast.expr:
    return node.value if isinstance(node, ast.FormattedValue) else node


def _function(  # noqa: PLR0911  one for each function
    name: str, given: Sequence[Value]
) -> Value:
    match name, given:
        case _, [str() | bytes() as text, *_] if name in _DECODERS:
            return _DECODERS[name](text)
        case "fromhex", [str() as text]:
            return bytes.fromhex(text)
        case "chr", [int() as number]:
            return chr(number)
        case "reversed", [str() | tuple() as several]:
            return tuple(several)[::-1]
        case "list" | "tuple", [str() | tuple() as several]:
            return tuple(several)
        case "bytes" | "bytearray", [tuple() as numbers]:
            return bytes(each for each in numbers if isinstance(each, int))
        case "str", [str() as text]:
            return text
        case "decode", [str() as text, "rot13" | "rot_13"]:
            return codecs.decode(text, "rot13")
        case _:
            raise _NotConstantError


def _method(  # noqa: PLR0911  one for each method
    value: Value, name: str, given: Sequence[Value]
) -> Value:
    match value, name, given:
        case str(), "join", [str() | tuple() as parts]:
            return value.join(str(each) for each in parts)
        case str(), "replace", [str() as old, str() as new]:
            return value.replace(old, new)
        case str(), "encode", _:
            return value.encode()
        case bytes(), "decode", _:
            return value.decode()
        case str(), "format", _:
            return value.format(*given)
        case str(), "strip", []:
            return value.strip()
        case str(), "swapcase", []:
            return value.swapcase()
        case _:
            raise _NotConstantError
