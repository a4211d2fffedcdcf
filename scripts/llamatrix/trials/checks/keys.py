"""Find keys that are hard-coded in a workspace, in plain text or hidden."""

import ast
import base64
import binascii
import codecs
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter

from llamatrix.redaction import redact
from llamatrix.trials.checks.sources import Source, dotted, files, literal_text

_NAME = re.compile(
    r"(api_?key|access_?key|auth_?token|secret|password)s?$", re.IGNORECASE
)
ENVIRONMENT_FILE = re.compile(r"\.env(\.\w+)?|\.envrc")
"""Files that may hold a key."""
_SHORTEST_KEY = 16
_LARGEST_BYTES = 8 << 20
_PLACEHOLDER_WORDS = {
    *("a", "an", "bad", "demo", "expired", "for", "key", "api", "is", "missing"),
    *("mock", "no", "none", "not", "of", "real", "revoked", "sample", "some", "test"),
    *("testing", "the", "this", "token", "unit", "use", "valid", "value", "your"),
    *("here", "incorrect", "nonexistent", "malformed", "broken", "unauthorized"),
    *("definitely", "clearly", "obviously", "actual", "secret", "gemini", "google"),
}
_PLACEHOLDER_PARTS = re.compile(
    r"invalid|wrong|fake|dummy|placeholder|example|change.?me|replace.?me|bogus",
    re.IGNORECASE,
)
_GOOGLE = re.compile(r"AIza[0-9A-Za-z_-]{30,}")
_RUN = re.compile(rb"[A-Za-z0-9+/_=-]{24,}")
_WORD = re.compile(r"[A-Za-z]+|[0-9]+")
_LONGEST_NUMBER = 12
Value = str | bytes | int | tuple["Value", ...]
_LONGEST = 10_000
_WIDE_FIELD = re.compile(r"\d{5}|\{")
_WIDE_CONVERSION = re.compile(r"%[-+ #\d.]*(\d{5}|\*)")
"""A width or precision of five digits, or one that comes from another value."""
_DEEPEST = 40
_MOST_STEPS = 2_000_000
"""Per file: names that refer to others can double the work with each line."""
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


def hard_coded_keys(
    workspace: Path, sources: Iterable[Source], secrets: Iterable[str]
) -> tuple[str, ...]:
    """Return the places of keys, however they are hidden; never the keys themselves."""
    known = tuple(secret for secret in secrets if secret)
    keys = [*_in_files(workspace, known)]
    for source in sources:
        keys.extend(f"{source.name}, line {n}" for n in literal_key_lines(source))
        if source.tree is not None:
            for line, text in constant_texts(source.tree):
                content = text.encode(errors="surrogatepass")
                if any(_holds_key(form, known) for form in _forms(content)):
                    keys.append(f"{source.name}, line {line}")
    return tuple(dict.fromkeys(keys))


def is_placeholder(text: str) -> bool:
    """Whether a text shows that it is no real key, such as `invalid-key-for-test`."""
    if _PLACEHOLDER_PARTS.search(text):
        return True
    if len(set(text.lower())) <= 3:  # noqa: PLR2004  xxxx, 1111
        return True
    words = [word.lower() for word in _WORD.findall(text)]
    numbers = [word for word in words if word.isdigit()]
    plain = [word for word in words if not word.isdigit()]
    separated = "-" in text or "_" in text or " " in text or len(words) == 1
    return (
        bool(plain)
        and separated
        and all(word in _PLACEHOLDER_WORDS for word in plain)
        and sum(map(len, numbers)) <= _LONGEST_NUMBER
    )


def _in_files(workspace: Path, secrets: tuple[str, ...]) -> Iterator[str]:
    for path in files(workspace, hidden=True):
        if ENVIRONMENT_FILE.fullmatch(path.name):
            continue
        name = path.relative_to(workspace).as_posix()
        with path.open("rb") as file:
            content = file.read(_LARGEST_BYTES)
        lines = [
            number
            for number, line in enumerate(content.splitlines(), 1)
            if any(_holds_key(form, secrets) for form in _forms(line))
        ]
        yield from (f"{name}, line {number}" for number in lines)
        joined = b"".join(content.replace(b"\0", b"").split())
        if not lines and any(_holds_whole(form, secrets) for form in _forms(joined)):
            yield name


def _holds_whole(text: str, secrets: tuple[str, ...]) -> bool:
    """The same for a text without spaces, in which unrelated words are joined."""
    shapes = _GOOGLE.findall(text)
    return any(secret in text for secret in secrets) or any(
        not is_placeholder(shape) for shape in shapes
    )


def _forms(content: bytes) -> Iterator[str]:
    """Yield the text, its reverse and rotation, and what its longer words decode to."""
    text = content.decode("latin-1")
    yield text
    yield text[::-1]
    if "NVmn" in text:  # `AIza` rotated by 13
        yield codecs.encode(text, "rot13")
    for match in _RUN.finditer(content):
        for word in (match[0], match[0][::-1]):
            yield from _decoded(word)


def _decoded(word: bytes) -> Iterator[str]:
    for altered in (word, word.replace(b"-", b"+").replace(b"_", b"/")):
        clean = altered.rstrip(b"=")
        whole = clean[: len(clean) - (len(clean) % 4 == 1)]
        try:
            decoded = base64.b64decode(whole + b"=" * (-len(whole) % 4))
        except (binascii.Error, ValueError):
            continue
        yield decoded.decode("latin-1")
        yield decoded.decode("latin-1")[::-1]
    try:
        yield bytes.fromhex(word.decode()).decode("latin-1")
    except ValueError:
        return


def _holds_key(text: str, secrets: tuple[str, ...]) -> bool:
    """Whether it holds a known key, or something shaped like one that is no placeholder."""
    if any(secret in text for secret in secrets):
        return True
    if redact(text) == text:
        return False
    words = re.findall(r"[A-Za-z0-9_-]{20,}", text)
    return any(redact(word) != word and not is_placeholder(word) for word in words)


def literal_key_lines(source: Source) -> tuple[int, ...]:
    """Return the lines that assign a literal like a real key to a name like `api_key`."""
    bindings = (binding for node in source.nodes for binding in _bindings(node))
    lines = {
        value.lineno
        for name, value in bindings
        if _NAME.search(name)
        and isinstance(value, ast.Constant)
        and isinstance(value.value, str)
        and looks_real(value.value)
    }
    return tuple(sorted(lines))


def _bindings(node: ast.AST) -> Iterator[tuple[str, ast.expr | None]]:
    """Yield name and value of each assignment, argument, default and pair."""
    if isinstance(node, ast.Assign):
        yield from ((_name(target), node.value) for target in node.targets)
    elif isinstance(node, ast.AnnAssign):
        yield _name(node.target), node.value
    elif isinstance(node, ast.keyword):
        yield node.arg or "", node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values, strict=True):
            yield _name(key) if key else "", value
    elif isinstance(node, ast.Call) and len(node.args) > 1:
        yield _name(node.args[-2]), node.args[-1]  # os.environ.setdefault("KEY", "…")
    elif isinstance(node, ast.BoolOp):  # os.environ.get("KEY") or "…"
        names = [_name(each) for each in node.values[:-1]]
        yield next(filter(_NAME.search, names), ""), node.values[-1]
    elif isinstance(node, ast.arguments):
        named = (*node.posonlyargs, *node.args)
        for arg, default in zip(reversed(named), reversed(node.defaults), strict=False):
            yield arg.arg, default


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return literal_text(node)
    if isinstance(node, ast.Subscript):
        return _name(node.slice)
    if isinstance(node, ast.Call) and node.args and dotted(node.func).endswith("get"):
        return _name(node.args[0])  # os.environ.get("KEY")
    return dotted(node)


def looks_real(text: str) -> bool:
    """Whether it may be a key.

    It is shaped like a known one, or long, without spaces, letters and digits mixed;
    and it is not `your-api-key-here-1`.
    """
    return _holds_key(text, ()) or (
        len(text) >= _SHORTEST_KEY
        and not re.search(r"\s", text)
        and any(c.isdigit() for c in text)
        and any(c.isalpha() for c in text)
        and not is_placeholder(text)
    )


class _NotConstantError(Exception):
    pass


_NO_TEXT = (
    *(_NotConstantError, RecursionError, ValueError, TypeError, LookupError),
    *(OverflowError, MemoryError, AttributeError),
)


def constant_texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield line and text of each expression that consists of constants.

    `"AIza" + "Sy…"`, `"".join(["AI", "za"])`, `base64.b64decode("…")`, `chr(65)` and the
    like are computed, not run: a key may be hidden behind any of them.
    """
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
    assignments: dict[str, list[ast.expr]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assignments.setdefault(target.id, []).append(node.value)
    return {name: values[0] for name, values in assignments.items() if len(values) == 1}


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

    def _value(self, node: ast.expr) -> Value:  # noqa: PLR0911  one per kind
        match node:
            case ast.Constant(value=str() | bytes() | int() as value):
                return value
            case ast.Name(id=name) if name in self.names:
                return self.value(self.names[name])
            case ast.List() | ast.Tuple():
                return tuple(self.value(each) for each in node.elts)
            case ast.JoinedStr():
                parts = [
                    each.value if isinstance(each, ast.FormattedValue) else each
                    for each in node.values
                ]
                return "".join(str(self.value(part)) for part in parts)
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
            return _converted(left, right)
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
        given = [self.value(each) for each in node.args]
        if isinstance(node.func, ast.Name):
            return _function(node.func.id, given)
        if not isinstance(node.func, ast.Attribute):
            raise _NotConstantError
        try:
            return _function(node.func.attr, given)
        except _NotConstantError:
            return _method(self.value(node.func.value), node.func.attr, given)


def _function(  # noqa: PLR0911  one per function
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


def _method(  # noqa: PLR0911  one per method
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
            return _formatted(value, given)
        case str(), "strip", []:
            return value.strip()
        case str(), "swapcase", []:
            return value.swapcase()
        case _:
            raise _NotConstantError


def _converted(text: str, given: Value) -> str:
    if _WIDE_CONVERSION.search(text):
        raise _NotConstantError
    return text % given


def _formatted(text: str, given: Sequence[Value]) -> str:
    if any(_WIDE_FIELD.search(spec or "") for _, _, spec, _ in Formatter().parse(text)):
        raise _NotConstantError
    return text.format(*given)
