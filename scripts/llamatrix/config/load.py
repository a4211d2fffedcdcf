"""Reads `matrix.toml`: syntax, types, then what one part says of another."""

import codecs
import re
import tomllib
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from llamatrix.config.complaint import complaints, nearest
from llamatrix.config.matrix import (
    BATCHED,
    CONTEXT7,
    NO_DRAFT,
    OF_A_SOURCE,
    TOOLS_OF_PI,
    WITH_SYNTHETIC_ASSISTANT,
    WITH_SYNTHETIC_HEAD,
    AgentKind,
    AgentSetup,
    Backend,
    Draft,
    DraftType,
    Matrix,
    Measurement,
    Pin,
    PinKind,
    Profile,
    PromptKind,
    Server,
    Sweep,
    WeightsKind,
)
from llamatrix.errors import MatrixError
from llamatrix.measured_environment import OURS, PASSED_ON
from llamatrix.project import user_path

READ_COMMITS = frozenset(
    {
        "f49e9178767d557a522618b16ce8694f9ddac628",
        "f53577432541bb9edc1588c4ef45c66bf07e4468",
        "9e3b928fd8c9d14dbf15a8768b9fdd7e5c721d66",
        "0c1e57098bba43ac29e6e3b677cdceebdd22334f",
    }
)
"""Commits of llama.cpp whose lists of cache types were read and found the same.

`ggml_type_from_name` in llama-bench.cpp, `kv_cache_types` in arg.cpp; another commit is
checked when its source is here (`provision/pin_source.py`).
"""
BENCH_CACHE_TYPES = ("f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "iq4_nl")
SERVER_CACHE_TYPES = ("f32", *BENCH_CACHE_TYPES)
_UNQUANTISED = ("f32", "f16", "bf16")
_OF_A_PIN = {
    PinKind.PACKAGE: ("version", "commit"),
    PinKind.GIT: ("rev",),
    PinKind.PATH: (),
    PinKind.BINARIES: (),
}
"""The keys that each kind of pin must have, and no other kind may."""
_ABBREVIATED = re.compile(r"[0-9a-f]{5,39}")
_REV = re.compile(r"[^\s~^:?*\[\\-][^\s~^:?*\[\\]*")
_CREDENTIALS = re.compile(r"\w+://[^/@]*:[^/@]*@")
_COUNTS_DRAFTS = {"0c1e57098bba43ac29e6e3b677cdceebdd22334f"}
_WITHOUT_TENSOR_SPLIT = {"f49e9178767d557a522618b16ce8694f9ddac628"}
_BUFFERS = ("CPU", "CUDA0")
_BUFFER = re.compile(r"CPU|[A-Z][A-Za-z]+\d+(_Split)?")
"""llama.cpp's names of buffer types: of the CPU, and of each device."""
_MOST_DEVICES = 16
_OUR_FIELDS = {"model", "messages", "max_tokens", "stream", "stream_options"}
_SHOWN = 5
_SPLIT_FILE = re.compile(r"-\d{5}-of-\d{5}\.gguf$")
_MOST_LEVELS = 32
_DEEP_KEY = re.compile(rf"(?:[\w\"'-]++\s*+\.\s*+){{{_MOST_LEVELS}}}")
_TOO_DEEP = f"tables and arrays are nested more than {_MOST_LEVELS} levels deep"


def load_matrix(path: Path) -> Matrix:
    """The matrix, or MatrixError with one line for each thing that is wrong."""
    raw = read_toml(path)
    found = [*complaints(raw, Matrix), *_incomplete_models(raw)]
    if not found:
        matrix = with_paths(msgspec.convert(raw, type=Matrix), path.parent)
        found = list(_contradictions(matrix))
        if not found:
            return matrix
    lines = [f"{path.name}: {line}" for line in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"{path.name}: and {len(found) - _SHOWN} more")
    raise MatrixError("\n".join(lines))


def with_paths(matrix: Matrix, folder: Path) -> Matrix:
    """Return the matrix with the files of all models, local ones with absolute paths."""
    models = {}
    for key, model in matrix.models.items():
        path = Path(model.member or model.file)
        try:
            file = str(folder / user_path(model.file)) if model.local else model.file
        except MatrixError as error:
            raise MatrixError(f"matrix.toml: models.{key}.file: {error}") from error
        models[key] = msgspec.structs.replace(
            model, file=file or path.name, name=model.name or path.stem
        )
    return msgspec.structs.replace(matrix, models=models)


def _incomplete_models(raw: Mapping[str, Any]) -> Iterator[str]:
    """Complain about models without one source, or without what no file here can tell."""
    models = raw.get("models")
    for key, model in models.items() if isinstance(models, dict) else ():
        if not isinstance(model, dict):
            continue
        if "package" in model and ("file" in model or "repository" in model):
            yield f"models.{key}: has two sources; keep the package or the file"
        elif "package" not in model and not model.get("file"):
            yield f"models.{key}.file: missing"
        for source, fields in OF_A_SOURCE.items():
            if source in model:
                for field in fields:
                    if field not in model and field != "file":
                        yield f"models.{key}.{field}: missing"


def read_toml(path: Path) -> dict[str, object]:
    """The file's tables; MatrixError in one line where it has none for us."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise MatrixError(f"{path.name}: not found in {path.parent}") from None
    except OSError as error:
        raise MatrixError(f"{path.name}: cannot be read: {error.strerror}") from error
    if text.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise MatrixError(
            f"{path.name}: begins with a byte order mark; save it as plain UTF-8"
        )
    try:
        decoded = text.decode()
        if _DEEP_KEY.search(decoded):  # tomllib's memory grows with its square
            raise MatrixError(f"{path.name}: {_TOO_DEEP}")
        raw = tomllib.loads(decoded)
    except UnicodeDecodeError as error:
        raise MatrixError(
            f"{path.name}: not UTF-8: byte {error.start} is {text[error.start]:#04x}; "
            "save it as UTF-8"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"{path.name}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise MatrixError(f"{path.name}: {_TOO_DEEP}") from error
    if _is_too_deep(raw):
        raise MatrixError(f"{path.name}: {_TOO_DEEP}")
    return raw


def _is_too_deep(raw: object) -> bool:
    level: list[Any] = [raw]
    for _ in range(_MOST_LEVELS):
        if not level:
            return False
        level = [
            child
            for parent in level
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, dict | list)
        ]
    return True


def _contradictions(matrix: Matrix) -> Iterator[str]:
    wrong_pins = [
        line for key, pin in matrix.pins.items() for line in _in_pin(pin, f"pins.{key}")
    ]
    yield from wrong_pins
    template_pin = matrix.pins.get(matrix.synthetic.template_pin)
    if template_pin is None:
        yield _unknown(
            "synthetic.template_pin", matrix.synthetic.template_pin, matrix.pins
        )
    elif not wrong_pins and template_pin.kind is not PinKind.PACKAGE:
        yield (
            f"synthetic.template_pin: {matrix.synthetic.template_pin!r} is no package; "
            "the templates of synthetic weights come from a pin that everybody has"
        )
    for key, sweep in matrix.sweeps.items():
        yield from _in_sweep(sweep, f"sweeps.{key}")
        yield from _in_served_sweep(matrix, sweep, f"sweeps.{key}")
    yield from _in_drafts(matrix)
    for key, server in matrix.servers.items():
        yield from _in_offload(server, f"servers.{key}")
        yield from _in_env(server.env, f"servers.{key}.env")
    yield from _in_engine_flags(matrix)
    yield from _in_models(matrix)
    for key, build in matrix.builds.items():
        if build.backend is Backend.CPU and build.cuda_capabilities:
            yield f"builds.{key}.cuda_capabilities: means nothing for backend = 'cpu'"
    for key, agent in matrix.agents.items():
        yield from _in_agent(matrix, agent, f"agents.{key}")
    yield from _in_endpoints(matrix)
    for key, profile in matrix.profiles.items():
        yield from _in_profile(matrix, profile, f"profiles.{key}")
        yield from _in_served_profile(matrix, profile, f"profiles.{key}")
        yield from _in_batched_profile(matrix, profile, f"profiles.{key}")


def _in_pin(pin: Pin, path: str) -> Iterator[str]:
    named = [kind for kind in PinKind if getattr(pin, kind)]
    if len(named) != 1:
        what = f"names {' and '.join(named)}" if named else "names no source"
        yield (
            f"{path}: {what}; write one of package (with version and commit), git "
            "(with rev), path or binaries"
        )
        return
    (kind,) = named
    for other, keys in _OF_A_PIN.items():
        for key in keys:
            if bool(getattr(pin, key)) != (other is kind):
                what = f"needs a {key}" if other is kind else f"has no {key}"
                yield f"{path}.{key}: a pin by {kind} {what}"
    if kind is PinKind.GIT and _ABBREVIATED.fullmatch(pin.rev):
        yield (
            f"{path}.rev: {pin.rev!r} looks like an abbreviated commit, which no server "
            f"looks up; write all 40 digits, or refs/heads/{pin.rev} for a branch"
        )
    elif pin.rev and not _REV.fullmatch(pin.rev):
        yield f"{path}.rev: {pin.rev!r} is no name of a branch, tag, ref or commit"
    if pin.git.startswith("-") or _CREDENTIALS.match(pin.git):
        yield f"{path}.git: a flag, or a password in a URL; write the plain URL"


def _in_sweep(sweep: Sweep, path: str) -> Iterator[str]:
    if not sweep.n_prompt and not sweep.n_gen:
        yield f"{path}: measures nothing; fill n_prompt or n_gen"
    for axis, least in (("n_depth", 0), ("prompts", "mixed"), ("concurrency", 1)):
        if not getattr(sweep, axis):
            yield f"{path}.{axis}: empty: leave it out, or list {least!r}"
    for axis in ("n_prompt", "n_gen", "n_depth", "concurrency", "prompts"):
        yield from _twice(getattr(sweep, axis), f"{path}.{axis}")
    yield from _in_offload(sweep, path)
    yield from _in_env(sweep.env, f"{path}.env")


def _twice(sizes: tuple[int, ...], path: str) -> Iterator[str]:
    if twice := sorted({size for size in sizes if sizes.count(size) > 1}):
        yield f"{path}: {twice[0]} is listed twice"


def _in_served_sweep(matrix: Matrix, sweep: Sweep, path: str) -> Iterator[str]:
    """Of a sweep with drafts: llama-server can do less than llama-bench."""
    known = (NO_DRAFT, *matrix.drafts)
    for index, name in enumerate(sweep.drafts):
        if name not in known:
            yield _unknown(f"{path}.drafts[{index}]", name, known)
        elif name in sweep.drafts[:index]:
            yield f"{path}.drafts[{index}]: {name!r} is listed twice"
        elif name in matrix.drafts and matrix.drafts[name].type is DraftType.NGRAM_MOD:
            yield (
                f"{path}.drafts[{index}]: {name!r} remembers earlier requests, and those "
                "of a sweep are alike: it would draft from its own earlier answers"
            )
    served = any(
        Measurement.SERVE_SPEED in profile.measure
        and matrix.sweeps.get(profile.sweep or "") is sweep
        for profile in matrix.profiles.values()
    )
    if not sweep.drafts and not served:
        return
    if not sweep.n_prompt or not sweep.n_gen:
        yield f"{path}: a server needs both: a prompt (n_prompt) and an answer (n_gen)"
    if sweep.n_depth != (0,):
        yield (
            f"{path}.n_depth: means nothing for a server: it generates behind the prompt "
            "of n_prompt tokens"
        )
    if 1 in sweep.n_gen:
        yield f"{path}.n_gen: 1 takes no time: a prompt yields the first token"
    if not sweep.warmup_repetitions:
        yield f"{path}.warmup_repetitions: must be 1 or more for a server"


def _in_drafts(matrix: Matrix) -> Iterator[str]:
    for key, draft in matrix.drafts.items():
        yield from _in_draft(matrix, draft, f"drafts.{key}")
    for name, meaning in (
        (NO_DRAFT, "decoding without drafts"),
        (BATCHED, "llama-batched-bench's cells"),
    ):
        if name in matrix.drafts:
            yield f"drafts.{name}: the name of {meaning}; choose another"


def _in_draft(matrix: Matrix, draft: Draft, path: str) -> Iterator[str]:
    """Complain about what llama-server would abort at, or silently not do."""
    n_max = 3 if draft.n_max is None else draft.n_max
    if draft.model is not None and draft.model not in matrix.models:
        yield _unknown(f"{path}.model", draft.model, matrix.models)
    if not draft.type.has_weights:
        for key in ("n_max", "n_min", "p_min", "model", "synth_len"):
            if getattr(draft, key):
                yield f"{path}.{key}: means nothing for type = {draft.type.value!r}"
        return
    if draft.model is None and draft.type is not DraftType.MTP:
        yield (
            f"{path}.model: missing: {draft.type.value!r} drafts with a model of its own"
        )
    if draft.n_min > n_max:
        yield f"{path}.n_min: {draft.n_min} is above n_max = {n_max}: nothing is drafted"
    if draft.synth_len is not None and draft.synth_len > n_max + 1:
        yield (
            f"{path}.synth_len: {draft.synth_len:g} is above {n_max + 1}, the most that "
            f"n_max = {n_max} can yield"
        )
    if draft.synth_len is not None and draft.p_min:
        yield f"{path}.p_min: shortens drafts, so synth_len would not be reached"


def _in_offload(flags: Sweep | Server, path: str) -> Iterator[str]:
    """Complain about a placement of tensors that llama.cpp would refuse or misread."""
    for override in flags.override_tensor:
        pattern, _, buffer = override.partition("=")
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"{path}.override_tensor: {pattern!r}: no regular expression: {error}"
        if not _BUFFER.fullmatch(buffer):
            yield (
                f"{path}.override_tensor: {buffer!r} is no kind of buffer"
                f"{nearest(buffer, _BUFFERS)}"
            )
    if flags.tensor_split and not any(flags.tensor_split):
        yield f"{path}.tensor_split: every share is 0: no GPU would hold the model"
    if len(flags.tensor_split) > _MOST_DEVICES:
        yield (
            f"{path}.tensor_split: {len(flags.tensor_split)} shares; llama.cpp knows "
            f"{_MOST_DEVICES} devices at most"
        )


def _in_endpoints(matrix: Matrix) -> Iterator[str]:
    for key, endpoint in matrix.endpoints.items():
        if not is_address(endpoint.url):
            yield (
                f"endpoints.{key}.url: {endpoint.url.rpartition('@')[2]!r}: not an "
                "address like http://127.0.0.1:11434/v1, without user, query and "
                "fragment; api_key_env names the variable with a key"
            )
        for name in sorted(_OUR_FIELDS & endpoint.request.keys()):
            yield f"endpoints.{key}.request.{name}: set by the harness"
    for key, sweep in matrix.endpoint_sweeps.items():
        if not sweep.n_prompt and not sweep.n_gen:
            yield f"endpoint_sweeps.{key}: measures nothing; fill n_prompt or n_gen"
        for axis in ("n_prompt", "n_gen", "n_depth", "concurrency"):
            yield from _twice(getattr(sweep, axis), f"endpoint_sweeps.{key}.{axis}")
    for key, profile in matrix.profiles.items():
        yield from _in_endpoints_of(matrix, profile, f"profiles.{key}")


def _in_endpoints_of(matrix: Matrix, profile: Profile, path: str) -> Iterator[str]:
    if profile.endpoints:
        yield from _in_axis(f"{path}.endpoints", profile.endpoints, matrix.endpoints)
    for name in profile.endpoints if Measurement.AGENT in profile.measure else ():
        if name in matrix.endpoints and not matrix.endpoints[name].ctx_size:
            yield (
                f"endpoints.{name}.ctx_size: missing: {path} makes trials, and an agent "
                "must know its context"
            )


def is_address(url: str) -> bool:
    """Whether it is a web server's, with neither a user in it nor a query."""
    try:
        parts = urlsplit(url)
        whole = (parts.hostname, parts.port or True)
    except ValueError:
        return False
    odd = parts.username or parts.query or parts.fragment
    return parts.scheme in {"http", "https"} and all(whole) and not odd


def _in_env(env: Mapping[str, str], path: str) -> Iterator[str]:
    for name, value in env.items():
        if name.startswith("LLAMA_ARG_"):
            yield f"{path}.{name}: acts as a flag; write the flag's own key instead"
        elif name in PASSED_ON or name.startswith(OURS):
            yield f"{path}.{name}: set by the harness, or taken from the shell"
        elif "\0" in value:
            yield f"{path}.{name}: contains a NUL character"
        elif value.startswith("/"):
            yield f"{path}.{name}: {value!r} is a path of one machine; records hold none"


def _in_engine_flags(matrix: Matrix) -> Iterator[str]:
    """Values that a pin's program refuses: it would fail before it measures."""
    flags: tuple[tuple[str, Mapping[str, Sweep | Server], tuple[str, ...]], ...] = (
        ("sweep", matrix.sweeps, BENCH_CACHE_TYPES),
        ("server", matrix.servers, SERVER_CACHE_TYPES),
    )
    for kind, table, known in flags:
        for name, one in table.items():
            path = f"{kind}s.{name}"
            if one.cache_type_v not in _UNQUANTISED and not one.flash_attn:
                yield (
                    f"{path}.flash_attn: must be true with cache_type_v = "
                    f"{one.cache_type_v!r}: llama.cpp has no quantised V cache without"
                    " it"
                )
            commits = {
                pin: matrix.pins[pin].commit
                for profile in matrix.profiles.values()
                for pin in profile.pins
                if getattr(profile, kind) == name and pin in matrix.pins
            }
            read = [pin for pin, commit in commits.items() if commit in READ_COMMITS]
            if read:
                shown = ", ".join(read)
                yield from unknown_types(one, path, known=known, pin=shown)
            for pin in read:
                if commits[pin] in _WITHOUT_TENSOR_SPLIT:
                    modes = ("none", "layer", "row")
                    yield from unknown_split(one, path, known=modes, pin=pin)


def unknown_types(
    flags: Sweep | Server, path: str, *, known: Collection[str], pin: str
) -> Iterator[str]:
    """Complain, with the pin's own list, about each type that its program refuses."""
    program = "llama-bench" if isinstance(flags, Sweep) else "llama-server"
    for key in ("cache_type_k", "cache_type_v"):
        name = getattr(flags, key)
        if name not in known:
            yield (
                f"{path}.{key}: {name!r} is none of the types that {program} of {pin} "
                f"takes: {', '.join(known)}"
            )


def unknown_split(
    flags: Sweep | Server, path: str, *, known: Collection[str], pin: str
) -> Iterator[str]:
    """Complain, with the pin's own list, about a split mode that it does not know."""
    if flags.split_mode and flags.split_mode not in known:
        yield (
            f"{path}.split_mode: {flags.split_mode.value!r} is none of those that "
            f"llama.cpp of {pin} takes: {', '.join(known)}"
        )


def _in_models(matrix: Matrix) -> Iterator[str]:
    """Complain of two models under one name, and of a file in parts.

    Tables have one row for a name. The lock pins one file of a model; llama.cpp would
    look for the other parts.
    """
    known: dict[str, str] = {}
    for key, model in matrix.models.items():
        other = known.setdefault(model.name, key)
        if other != key:
            yield f"models.{key}.name: {model.name!r} is already that of {other!r}"
    for key, model in matrix.models.items():
        if problem := file_problem(model.file):
            yield f"models.{key}.file: {problem}"


def file_problem(file: str) -> str:
    """Return why a file's name is of no use as a model's; empty where it is."""
    try:
        file.encode()
    except UnicodeEncodeError:
        return f"{file!r} is not UTF-8, as matrix.toml and records are; rename it"
    if not _SPLIT_FILE.search(file):
        return ""
    return (
        f"{file!r} is one part of a split model; name a repository that has it whole, "
        "or merge it with llama-gguf-split"
    )


def _in_profile(matrix: Matrix, profile: Profile, path: str) -> Iterator[str]:
    engines = profile.pins or profile.builds or profile.models
    if engines or not profile.endpoints:
        yield from _in_axis(f"{path}.pins", profile.pins, matrix.pins)
        yield from _in_axis(f"{path}.builds", profile.builds, matrix.builds)
        yield from _in_axis(f"{path}.models", profile.models, matrix.models)
        yield from _in_weights(matrix, profile, path)
    if not profile.measure:
        yield f"{path}.measure: empty: the profile measures nothing"
    for axis, measurement, needed in (
        ("sweep", Measurement.SPEED, engines),
        ("sweep", Measurement.SERVE_SPEED, True),
        ("endpoint_sweep", Measurement.SPEED, profile.endpoints),
        ("agent", Measurement.AGENT, True),
        ("server", Measurement.AGENT, engines),
    ):
        if needed and getattr(profile, axis) is None and measurement in profile.measure:
            yield f"{path}.{axis}: missing: measure lists '{measurement}'"
    for key, name, known in (
        ("sweep", profile.sweep, matrix.sweeps),
        ("endpoint_sweep", profile.endpoint_sweep, matrix.endpoint_sweeps),
        ("server", profile.server, matrix.servers),
        ("agent", profile.agent, matrix.agents),
    ):
        if name is not None and name not in known:
            yield _unknown(f"{path}.{key}", name, known)
    yield from _in_also(matrix, profile, path)
    for pattern in profile.include:
        if pattern in profile.exclude:
            yield f"{path}: {pattern!r} stands both in include and in exclude"


def _in_also(matrix: Matrix, profile: Profile, path: str) -> Iterator[str]:
    for index, name in enumerate(profile.also):
        if name not in matrix.profiles:
            yield _unknown(f"{path}.also[{index}]", name, matrix.profiles)
        elif matrix.profiles[name].also:
            yield f"{path}.also[{index}]: {name!r} has profiles of its own; name them here"


_OF_ONE_FILE = {WeightsKind.LOCAL, WeightsKind.PACKAGE, WeightsKind.ENDPOINT}


def _in_weights(matrix: Matrix, profile: Profile, path: str) -> Iterator[str]:
    """Weights of a kind that a model of the profile does not have."""
    for key in profile.models:
        model = matrix.models.get(key)
        if model is None or not model.repository:
            continue
        if profile.weights in _OF_ONE_FILE:
            yield (
                f"{path}.weights: {profile.weights.value!r}, but models.{key} has a "
                "repository: 'hub'?"
            )
        if profile.weights.synthetic and not model.template:
            yield (
                f"models.{key}.template: missing: {path}.weights asks for synthetic "
                "weights, which embed the vendor's template"
            )


def _in_served_profile(matrix: Matrix, profile: Profile, path: str) -> Iterator[str]:
    """Drafts that the models or pins of a profile cannot do."""
    sweep = matrix.sweeps.get(profile.sweep or "")
    if sweep is None:
        return
    for axis, only, has, lists in (
        ("concurrency", 1, "one stream", "more"),
        ("prompts", PromptKind.MIXED, "no prompts of a kind", "some"),
    ):
        if Measurement.SPEED in profile.measure and getattr(sweep, axis) != (only,):
            yield (
                f"{path}.measure: 'speed': llama-bench has {has}, and sweeps."
                f"{profile.sweep}.{axis} lists {lists}; measure 'serve-speed'"
            )
    if Measurement.SERVE_SPEED not in profile.measure:
        return
    drafts = {
        name: matrix.drafts[name] for name in sweep.drafts if name in matrix.drafts
    }
    for pin in profile.pins:
        commit = matrix.pins[pin].commit if pin in matrix.pins else ""
        if drafts and commit in READ_COMMITS - _COUNTS_DRAFTS:
            yield (
                f"{path}.pins: llama-server of {pin} does not count drafts: whether it "
                "drafts cannot be verified"
            )
    for name, draft in drafts.items():
        if draft.type is DraftType.MTP and draft.model is None:
            yield from _without_head(matrix, profile, f"{path}.models", name)
        if draft.model in matrix.models and profile.weights.synthetic:
            yield from _not_of_one_family(matrix, profile, f"{path}.models", name)


def _in_batched_profile(matrix: Matrix, profile: Profile, path: str) -> Iterator[str]:
    """What llama-batched-bench cannot do for a profile."""
    sweep = matrix.sweeps.get(profile.sweep or "")
    if sweep is None or not sweep.batched:
        return
    where = f"sweeps.{profile.sweep}.batched"
    if Measurement.SERVE_SPEED not in profile.measure:
        yield f"{path}.measure: {where} is of serve-speed cells; measure 'serve-speed'"
    if sweep.prompts != (PromptKind.MIXED,):
        yield f"{where}: llama-batched-bench has no prompts of a kind: leave out prompts"
    for pin in profile.pins:
        if pin in matrix.pins and matrix.pins[pin].binaries:
            yield (
                f"{path}.pins: {pin} has binaries, and llama-batched-bench is compiled "
                f"from source: leave out {where}"
            )


def _without_head(
    matrix: Matrix, profile: Profile, path: str, draft: str
) -> Iterator[str]:
    """Models whose synthetic weights have no head to draft with."""
    for model in profile.models:
        local = model in matrix.models and matrix.models[model].local
        known = (*WITH_SYNTHETIC_HEAD, *WITH_SYNTHETIC_ASSISTANT)
        if profile.weights.synthetic and not local and model not in known:
            yield (
                f"{path}: {model}: draft {draft!r} needs a prediction head, and its "
                "synthetic weights have none"
            )


def _in_prompts(agent: AgentSetup, path: str) -> Iterator[str]:
    if agent.pi is None and (agent.tools or agent.system_prompt):
        key = "tools" if agent.tools else "system_prompt"
        yield f"{path}.{key}: only Pi has this setting"
    for tool in agent.tools:
        if tool not in (known := (*TOOLS_OF_PI, CONTEXT7)):
            yield _unknown(f"{path}.tools", tool, known)
    if agent.tools == (CONTEXT7,):
        yield f"{path}.tools: names none of Pi's own: {', '.join(TOOLS_OF_PI)}"
    if agent.first_prompt and "{task}" not in agent.first_prompt:
        yield f"{path}.first_prompt: has no {{task}}: the task's prompt would be left out"


def _not_of_one_family(
    matrix: Matrix, profile: Profile, path: str, name: str
) -> Iterator[str]:
    """Models whose synthetic weights another's cannot draft for."""
    draft = matrix.drafts[name]
    if draft.type is DraftType.MTP:
        yield f"{path}: draft {name!r}: {draft.model!r} is no assistant; leave model out"
        return
    template = matrix.models[draft.model or ""].template
    for model in profile.models:
        own = matrix.models.get(model)
        if own and own.template and own.template != template:
            yield (
                f"{path}: {model}: draft {name!r} has the vocabulary of {draft.model!r}, "
                "another one: nothing would be drafted"
            )


def _in_agent(matrix: Matrix, agent: AgentSetup, path: str) -> Iterator[str]:
    named = [kind for kind in AgentKind if getattr(agent, kind) is not None]
    if len(named) != 1:
        wrong = f"names {' and '.join(named)}" if named else "names no agent"
        yield f"{path}: {wrong}: it needs one of the keys {', '.join(AgentKind)}"
    for key in (*named, "context7"):
        name, known = getattr(agent, key), getattr(matrix, key)
        if name not in known:
            yield _unknown(f"{path}.{key}", name, known)
    if not agent.tasks:
        yield f"{path}.tasks: empty: the agent has nothing to do"
    yield from _in_prompts(agent, path)
    for task, scripts in agent.scripts.items():
        if task not in agent.tasks:
            yield _unknown(f"{path}.scripts", task, agent.tasks)
        elif not scripts:
            yield f"{path}.scripts.{task}: empty: no transcript to play"
    if agent.scripts and (silent := set(agent.tasks) - agent.scripts.keys()):
        yield (
            f"{path}.scripts: {', '.join(sorted(silent))}: a scripted agent needs one "
            "for every task"
        )


def _in_axis(
    path: str, names: tuple[str, ...], known: Mapping[str, object]
) -> Iterator[str]:
    if not names:
        yield f"{path}: empty: the profile selects nothing"
    for index, name in enumerate(names):
        if name not in known:
            yield _unknown(f"{path}[{index}]", name, known)
        elif name in names[:index]:
            yield f"{path}[{index}]: {name!r} is listed twice"


def _unknown(path: str, name: str, known: Iterable[str]) -> str:
    return f"{path}: unknown name {name!r}{nearest(name, known)}"
