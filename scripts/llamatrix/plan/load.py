"""Reads `matrix.toml`: syntax, types, then what one part says of another."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from llamatrix.errors import MatrixError
from llamatrix.plan.complaint import complaints, nearest
from llamatrix.plan.matrix import AgentSetup, Backend, Matrix, Measurement, Profile

_SHOWN = 5


def load_matrix(path: Path) -> Matrix:
    """The matrix, or MatrixError with one line for each thing that is wrong."""
    raw = read_toml(path)
    found = list(complaints(raw, Matrix))
    if not found:
        matrix = msgspec.convert(raw, type=Matrix)
        found = list(_contradictions(matrix))
        if not found:
            return matrix
    lines = [f"{path.name}: {line}" for line in found[:_SHOWN]]
    if len(found) > _SHOWN:
        lines.append(f"{path.name}: and {len(found) - _SHOWN} more")
    raise MatrixError("\n".join(lines))


def read_toml(path: Path) -> dict[str, object]:
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise MatrixError(f"{path.name}: not found in {path.parent}") from None
    except tomllib.TOMLDecodeError as error:
        raise MatrixError(f"{path.name}: not valid TOML: {error}") from error
    except OSError as error:
        raise MatrixError(f"{path.name}: cannot be read: {error.strerror}") from error


def _contradictions(matrix: Matrix) -> Iterator[str]:
    if matrix.synthetic.template_pin not in matrix.pins:
        yield _unknown(
            "synthetic.template_pin", matrix.synthetic.template_pin, matrix.pins
        )
    for key, sweep in matrix.sweeps.items():
        if not sweep.n_prompt and not sweep.n_gen:
            yield f"sweeps.{key}: measures nothing; fill n_prompt or n_gen"
        if sweep.cache_type_v != "f16" and not sweep.flash_attn:
            yield (
                f"sweeps.{key}.flash_attn: must be true with cache_type_v = "
                f"{sweep.cache_type_v!r}: llama.cpp has no quantised V cache without it"
            )
    yield from _same_names(matrix)
    for key, build in matrix.builds.items():
        if build.backend is Backend.CPU and build.cuda_capabilities:
            yield f"builds.{key}.cuda_capabilities: means nothing for backend = 'cpu'"
    for key, agent in matrix.agents.items():
        yield from _in_agent(matrix, agent, f"agents.{key}")
    for key, profile in matrix.profiles.items():
        yield from _in_profile(matrix, profile, f"profiles.{key}")


def _same_names(matrix: Matrix) -> Iterator[str]:
    """Tables have one row for a name: two models under one would be one."""
    known: dict[str, str] = {}
    for key, model in matrix.models.items():
        other = known.setdefault(model.name, key)
        if other != key:
            yield f"models.{key}.name: {model.name!r} is already that of {other!r}"


def _in_profile(matrix: Matrix, profile: Profile, path: str) -> Iterator[str]:
    yield from _in_axis(f"{path}.pins", profile.pins, matrix.pins)
    yield from _in_axis(f"{path}.builds", profile.builds, matrix.builds)
    yield from _in_axis(f"{path}.models", profile.models, matrix.models)
    if not profile.measure:
        yield f"{path}.measure: empty: the profile measures nothing"
    if profile.sweep is None and Measurement.SPEED in profile.measure:
        yield f"{path}.sweep: missing: measure lists 'speed'"
    for axis in ("agent", "server"):
        if getattr(profile, axis) is None and Measurement.AGENT in profile.measure:
            yield f"{path}.{axis}: missing: measure lists 'agent'"
    for key, name, known in (
        ("sweep", profile.sweep, matrix.sweeps),
        ("server", profile.server, matrix.servers),
        ("agent", profile.agent, matrix.agents),
    ):
        if name is not None and name not in known:
            yield _unknown(f"{path}.{key}", name, known)
    for pattern in profile.include:
        if pattern in profile.exclude:
            yield f"{path}: {pattern!r} stands both in include and in exclude"


def _in_agent(matrix: Matrix, agent: AgentSetup, path: str) -> Iterator[str]:
    for key, name, known in (
        ("opencode", agent.opencode, matrix.opencode),
        ("context7", agent.context7, matrix.context7),
    ):
        if name not in known:
            yield _unknown(f"{path}.{key}", name, known)
    if not agent.tasks:
        yield f"{path}.tasks: empty: the agent has nothing to do"
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
