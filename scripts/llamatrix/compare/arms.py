"""The two arms as a user names them, and the cells of the matrix that face each other."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import msgspec

from llamatrix.config.complaint import nearest
from llamatrix.config.context import Context
from llamatrix.config.expand import Plan, expand_plan, select_profile
from llamatrix.config.matrix import (
    NO_DRAFT,
    AgentKind,
    AgentSetup,
    Matrix,
    Measurement,
    Model,
)
from llamatrix.errors import MatrixError
from llamatrix.stats.pairs import Arm


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmSettings:
    """One arm as the user names it: a field for each kind; empty is the profile's own."""

    pin: str = ""
    build: str = ""
    sweep: str = ""
    draft: str = ""
    """`none`, or a name of `[drafts]`: measured on llama-server."""
    server: str = ""
    template: str = ""
    """`vendor`, one of templates/, or a file."""
    model: str = ""
    agent: str = ""
    """A version of the profile's agent, by its name in matrix.toml; or another agent, as
    `pi` or, with its version, `pi-current`."""
    context7: str = ""
    endpoint: str = ""
    """A key of `[endpoints]`: a server as it runs, so an arm of its own."""


KINDS = tuple(field.name for field in fields(ArmSettings))


@dataclass(frozen=True, kw_only=True, slots=True)
class Template:
    """A chat template that an arm is served with in place of the model's own."""

    name: str
    path: Path
    sha256: str


NamedTemplate = Callable[[Arm, Model], Template | None]
"""The template that an arm names for a model; None leaves the model its own."""


def parse_arm(text: str, matrix: Matrix, *, flag: str) -> ArmSettings:
    """Read `[KIND:]NAME`, several with commas: `current`, `pin:april,server:smoke`.

    Without a kind it is a pin, in any of the ways in which a pin is named.
    """
    settings: dict[str, str] = {}
    for word in filter(None, (word.strip() for word in text.split(","))):
        kind, colon, name = word.partition(":")
        if not colon:
            kind, name = "pin", word
        if kind not in KINDS:
            raise MatrixError(
                f"{flag} {word!r}: unknown kind {kind!r}{nearest(kind, KINDS)}; the "
                f"kinds are {', '.join(KINDS)}"
            )
        if kind in settings:
            raise MatrixError(f"{flag} {text!r}: names two {kind}s; an arm has one")
        known = _known(matrix).get(kind)
        if not name or (known is not None and name not in known):
            hint = nearest(name, known or ())
            raise MatrixError(f"{flag} {word!r}: not in matrix.toml{hint}")
        settings[kind] = name
    if "endpoint" in settings and len(settings) > 1:
        raise MatrixError(
            f"{flag} {text!r}: an endpoint runs as it is; leave out the other kinds"
        )
    return ArmSettings(**settings)


def _known(matrix: Matrix) -> Mapping[str, Collection[str]]:
    """The names of each kind; templates may also be files."""
    return {
        "build": matrix.builds,
        "sweep": matrix.sweeps,
        "draft": (NO_DRAFT, *matrix.drafts),
        "server": matrix.servers,
        "model": matrix.models,
        "agent": (*matrix.opencode, *matrix.pi, *_agents(matrix)),
        "context7": matrix.context7,
        "endpoint": matrix.endpoints,
    }


def _agents(matrix: Matrix) -> dict[str, tuple[AgentKind, str]]:
    """By `pi-current` an agent and its version; by `pi` the newest, which is last."""
    return {
        name: (kind, version)
        for kind in AgentKind
        for version in getattr(matrix, kind)
        for name in (f"{kind}-{version}", str(kind))
    }


def _with_agent(
    setup: AgentSetup, name: str, matrix: Matrix, profile: str
) -> AgentSetup:
    """Return the setup with the agent that an arm names; what only Pi has goes with it."""
    versions = getattr(matrix, setup.kind)
    if name in versions:
        return msgspec.structs.replace(setup, **{setup.kind: name})
    if name not in _agents(matrix):
        raise MatrixError(
            f"matrix.toml: {setup.kind}: no version {name!r}{nearest(name, versions)}; "
            f"profile {profile} runs this agent"
        )
    kind, version = _agents(matrix)[name]
    if kind is setup.kind and name == kind:
        return setup
    small = {} if kind is AgentKind.PI else {"tools": (), "system_prompt": ""}
    named = {**dict.fromkeys(AgentKind), kind: version}
    return msgspec.structs.replace(setup, **named, **small)


def with_pins(
    arms: Mapping[Arm, ArmSettings], matrix: Matrix, profile: str
) -> dict[Arm, ArmSettings]:
    """Return the arms, each with a pin: its own, else the other's, else the profile's.

    An arm that names nothing at all is the profile's own.
    """
    own = select_profile(matrix, profile).pins[0]
    named = [settings.pin for settings in arms.values() if settings.pin]
    return {
        arm: settings
        if settings.pin
        else replace(
            settings,
            pin=named[0] if named and settings != ArmSettings() else own,
        )
        for arm, settings in arms.items()
    }


def expand_arm(
    context: Context,
    settings: ArmSettings,
    measurement: Measurement,
    *,
    tasks: Sequence[str] = (),
    drafts: Sequence[str] = (),
) -> Plan:
    """Return the cells of one arm; what the profile excludes is still among them.

    `drafts` are those of both arms: their cells have the same weights.

    Agents have one build in each arm: the profile's first where none is named.
    """
    matrix, profile = context.matrix, context.profile
    chosen = select_profile(matrix, profile)
    of_agents = measurement is Measurement.AGENT
    builds = chosen.builds[:1] if of_agents else chosen.builds
    models = (settings.model,) if settings.model else chosen.models
    narrowed = msgspec.structs.replace(
        chosen,
        pins=(settings.pin,),
        builds=(settings.build,) if settings.build else builds,
        models=models,
        sweep=settings.sweep or chosen.sweep,
        server=settings.server or chosen.server,
        measure=(Measurement.SERVE_SPEED,) if drafts else (measurement,),
        include=("*",),
        exclude=(),
        also=(),
        endpoints=(),
    )
    sweeps = matrix.sweeps
    if drafts and narrowed.sweep:
        sweep = msgspec.structs.replace(
            sweeps[narrowed.sweep], drafts=tuple(dict.fromkeys(drafts))
        )
        sweeps = {**sweeps, narrowed.sweep: sweep}
    agents = matrix.agents
    if of_agents and chosen.agent:
        setup = matrix.agents[chosen.agent]
        if settings.agent:
            setup = _with_agent(setup, settings.agent, matrix, profile)
        setup = msgspec.structs.replace(
            setup,
            context7=settings.context7 or setup.context7,
            tasks=tuple(tasks) or setup.tasks,
        )
        agents = {**matrix.agents, chosen.agent: setup}
    return expand_plan(
        msgspec.structs.replace(
            matrix,
            profiles={**matrix.profiles, profile: narrowed},
            agents=agents,
            sweeps=sweeps,
        ),
        context.lock,
        profile,
    )


def both(baseline: str, candidate: str) -> str:
    """`april..current`, or the one name that both arms have."""
    return baseline if baseline == candidate else f"{baseline}..{candidate}"
