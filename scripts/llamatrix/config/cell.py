"""A cell: one combination of the matrix, fully resolved, with its identity."""

import hashlib

import msgspec
from msgspec import Struct

from llamatrix.config.lock import UNRESOLVED, LockedPackage, LockedPin, LockedWeights
from llamatrix.config.matrix import (
    BATCHED,
    Build,
    Draft,
    Measurement,
    Model,
    Pin,
    PromptKind,
    Server,
    Sweep,
    WeightsKind,
)

MEASUREMENT_VERSION = 1
"""Bumped by hand when the way of measuring changes: old records are then of another
kind and are measured again."""

GENERATOR_VERSIONS = {WeightsKind.TINY: 3, WeightsKind.FULL: 2}
"""Bumped by hand when `provision/weights/synthetic` writes other bytes for the same spec."""


class Synthesis(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decides the bytes of synthetic weights, as far as a plan can know it."""

    generator_version: int
    seed: int
    template_pin: LockedPin
    """The source tree the embedded chat template comes from …"""
    template: str
    """… and its file name under `models/templates/`."""
    head: bool = False
    """Whether the file has a head for multi-token prediction, which `draft-mtp` needs."""


class EngineCell(Struct, frozen=True, kw_only=True):
    """A model's weights and a build of llama.cpp: what every cell measures with."""

    model_key: str
    model: Model
    weights: WeightsKind
    synthesis: Synthesis | None
    """None for weights from the hub and the user's own …"""
    published: LockedWeights | None = None
    """… and these None for synthetic ones. The file of a local model is its path."""
    packaged: LockedPackage | None = None
    """Only for weights of that kind."""
    pin_key: str
    pin: Pin
    locked: LockedPin
    build_key: str
    build: Build

    @property
    def weights_key(self) -> str:
        """`qwen35-27b` for the published file, else with the kind: `qwen35-27b.tiny`.

        Synthetic ones with a prediction head are `qwen35-27b.tiny-mtp`.
        """
        suffix = "" if self.weights is WeightsKind.HUB else f".{self.weights}"
        head = "-mtp" if self.synthesis and self.synthesis.head else ""
        return self.model_key + suffix + head

    @property
    def weights_identity(self) -> object:
        """The bytes where the lock knows them, else what would be asked for.

        Nothing is measured under the second: a run resolves before it looks up what
        is recorded.
        """
        if self.packaged:
            return self.packaged.sha256
        if self.published and self.published.sha256 != UNRESOLVED:
            return self.published.sha256
        return self.synthesis or (self.model.repository, self.model.file)

    @property
    def engine_identity(self) -> tuple[object, ...]:
        """All of weights and build that can change a number."""
        return (
            self.model_key,
            self.weights,
            self.weights_identity,
            (self.locked.commit, self.locked.nar_hash, self.pin.build_number),
            self.build,
        )


class Cell(EngineCell, frozen=True, kw_only=True):
    """A sweep over one engine: of llama-bench, or of requests to llama-server."""

    measurement: Measurement
    sweep_key: str
    sweep: Sweep
    draft_key: str = ""
    """`none`, a name of `[drafts]`, or `batched`; empty for llama-bench."""
    draft: Draft | None = None
    draft_engine: EngineCell | None = None
    """The draft's own weights; None where it has none."""

    @property
    def id(self) -> str:
        """Readable and a relative path: `speed/qwen35-27b/april/cuda`.

        A server's has the draft behind: `serve-speed/qwen35-27b/april/cuda/none`.
        """
        parts = (self.measurement, self.weights_key, self.pin_key, self.build_key)
        return "/".join((*parts, self.draft_key) if self.draft_key else parts)

    @property
    def batched(self) -> bool:
        """Whether llama-batched-bench measures it, beside the clients of a server."""
        return self.draft_key == BATCHED

    @property
    def program(self) -> str:
        """The program that measures it."""
        if self.batched:
            return "llama-batched-bench"
        return "llama-server" if self.draft_key else "llama-bench"

    @property
    def tests(self) -> tuple["SpeedTest", ...]:
        """The sweep's tests in llama-bench's order: by depth, prompts before generation.

        A server generates behind the prompt it has just read: at its depth.
        """
        if self.measurement is Measurement.SERVE_SPEED:
            return tuple(
                SpeedTest(
                    n_prompt=0 if n_gen else n_prompt,
                    n_gen=n_gen,
                    n_depth=n_prompt if n_gen else 0,
                    concurrency=clients,
                    prompt=prompt,
                )
                for clients in self.sweep.concurrency
                for prompt in self.sweep.prompts
                for n_prompt in self.sweep.n_prompt
                for n_gen in (0, *self.sweep.n_gen)
            )
        sizes = [(tokens, 0) for tokens in self.sweep.n_prompt]
        sizes += [(0, tokens) for tokens in self.sweep.n_gen]
        return tuple(
            SpeedTest(n_prompt=n_prompt, n_gen=n_gen, n_depth=n_depth)
            for n_depth in self.sweep.n_depth
            for n_prompt, n_gen in sizes
        )

    @property
    def sweep_fields(self) -> dict[str, object]:
        """The flags of the sweep that can change a number.

        How often a sweep is repeated and how long it may take are left out: more
        repeats of the same measurement belong to the same cell.
        """
        sweep = msgspec.structs.replace(self.sweep, processes=1, timeout_s=1)
        fields = digest_fields(msgspec.structs.replace(sweep, drafts=()))
        del fields["target_spread"], fields["max_processes"]
        fields.pop("batched", None)  # adds a cell and changes none
        if not sweep.warmup_repetitions:  # as digests were before there were any
            del fields["warmup_repetitions"]
        return fields

    @property
    def spec_digest(self) -> str:
        """Over everything in matrix and lock that can change the number."""
        fields = self.sweep_fields
        identity = (MEASUREMENT_VERSION, self.measurement, *self.engine_identity)
        if self.measurement is not Measurement.SERVE_SPEED:
            return sha256_of((*identity, fields))
        if self.batched:
            return sha256_of((*identity, fields, BATCHED))
        own = self.draft_engine.weights_identity if self.draft_engine else None
        return sha256_of((*identity, fields, self.draft, own))

    def digest(self, *, host_slug: str, compiler: str) -> str:
        """The spec on one class of host with one compiler: the key of a record."""
        return sha256_of((self.spec_digest, host_slug, compiler))


class SpeedTest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of llama-bench: a prompt of `n_prompt` or a generation of `n_gen`."""

    n_prompt: int
    n_gen: int
    n_depth: int = 0
    """Tokens in the context before it begins."""
    concurrency: int = 1
    """Streams that are served at the same time."""
    prompt: PromptKind = PromptKind.MIXED
    """What a server's prompt is made of; llama-bench's are random."""

    @property
    def name(self) -> str:
        """As llama-bench writes it: `pp512`, `tg128 @ d8192`; `x4` for four streams."""
        name = f"pp{self.n_prompt}" if self.n_prompt else f"tg{self.n_gen}"
        return name + self.suffix

    @property
    def suffix(self) -> str:
        """What the name says beyond the size."""
        depth = f" @ d{self.n_depth}" if self.n_depth else ""
        clients = f" x{self.concurrency}" if self.concurrency > 1 else ""
        kind = "" if self.prompt is PromptKind.MIXED else f" {self.prompt}"
        return depth + clients + kind


_LATER_SWEEP = (
    *("n_depth", "n_cpu_moe", "override_tensor", "no_kv_offload", "split_mode"),
    *("tensor_split", "main_gpu", "drafts", "concurrency", "prompts", "batched"),
)
_LATER = (*_LATER_SWEEP, "threads")
"""Keys that came after the first records: at their defaults they change no digest."""


def digest_fields(flags: Sweep | Server) -> dict[str, object]:
    """The flags that a digest is made of."""
    fields: dict[str, object] = msgspec.to_builtins(flags)
    for field in msgspec.structs.fields(flags):
        later = field.name in (_LATER_SWEEP if isinstance(flags, Sweep) else _LATER)
        if later and getattr(flags, field.name) == field.default:
            del fields[field.name]
    return fields


def sha256_of(inputs: object) -> str:
    """A digest over values of ours, whatever their order of keys."""
    return hashlib.sha256(msgspec.json.encode(inputs, order="sorted")).hexdigest()
