"""What a running llama-server says of itself, held against what was asked of it."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec
from msgspec import Struct

from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.errors import ServeError
from llamatrix.web import Site


class _Settings(Struct, frozen=True):
    n_ctx: int


class Props(Struct, frozen=True):
    """`/props`, as far as both old and new servers tell it."""

    default_generation_settings: _Settings
    total_slots: int
    model_alias: str
    chat_template: str
    build_info: str
    """`b8643-f49e91787`: build number and commit as they were compiled in."""

    @property
    def context_tokens(self) -> int:
        """What one slot may hold."""
        return self.default_generation_settings.n_ctx

    @property
    def template_sha256(self) -> str:
        text = self.chat_template.removesuffix("\n")
        return hashlib.sha256(text.encode()).hexdigest()

    def is_template(self, sha256: str) -> bool:
        """Whether a file of this hash is in use, less the newline that Jinja drops."""
        text = self.chat_template.removesuffix("\n").encode()
        return sha256 in {
            hashlib.sha256(text + end).hexdigest() for end in (b"", b"\n")
        }


_CELLS = 256
"""llama.cpp rounds a context up to a multiple of this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheType:
    """One of the server's key-value caches; sliding windows have one of their own."""

    k: str
    v: str


def cache_types(log_text: str) -> tuple[CacheType, ...]:
    """The caches in the order the log names them: the full one first."""
    found = re.findall(
        r"llama_kv_cache: size =.* K \((\w+)\):.* V \((\w+)\):", log_text
    )
    return tuple(CacheType(k=k, v=v) for k, v in found)


def check(launch: Launch, props: Props, caches: tuple[CacheType, ...]) -> None:
    """ServeError with one line for each thing that is not as asked."""
    wrong = list(_differences(launch, props, caches))
    if wrong:
        lines = [f"  {what}: asked {asked}, served {got}" for what, asked, got in wrong]
        raise ServeError(
            "\n".join(
                [f"llama-server serves {launch.alias} otherwise than asked", *lines]
            )
        )


def _differences(
    launch: Launch, props: Props, caches: tuple[CacheType, ...]
) -> Iterator[tuple[str, object, object]]:
    server = launch.server
    slot_tokens = launch.model.ctx_size // server.parallel
    if not slot_tokens <= props.context_tokens < slot_tokens + _CELLS:
        yield "ctx_size of one slot", slot_tokens, props.context_tokens
    if props.total_slots != server.parallel:
        yield "parallel", server.parallel, props.total_slots
    if props.model_alias != launch.alias:
        yield "alias", launch.alias, props.model_alias
    pin, template = launch.template_pin, launch.template_sha256()
    if pin and not props.is_template(pin):
        yield "chat template (sha256 in matrix.lock)", pin, props.template_sha256
    elif template not in (None, props.template_sha256):
        yield "chat template (sha256)", template, props.template_sha256
    asked = CacheType(k=server.cache_type_k, v=server.cache_type_v)
    if caches and caches[0] != asked:
        yield "cache types", asked, caches[0]
    commit = props.build_info.rpartition("-")[2]
    if launch.commit and not launch.commit.startswith(commit):
        yield "build commit", launch.commit, commit


_PREFIX = "llamacpp:"


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """What a server has done since its start, or between two readings."""

    prompt_tokens: float
    """Processed; tokens taken from the cache are not in it."""
    prompt_s: float
    generated_tokens: float
    generation_s: float
    cached_tokens: float | None
    """Taken from the cache; None at pins that do not count them."""

    def since(self, earlier: "Counters") -> "Counters":
        found = Counters(
            prompt_tokens=self.prompt_tokens - earlier.prompt_tokens,
            prompt_s=self.prompt_s - earlier.prompt_s,
            generated_tokens=self.generated_tokens - earlier.generated_tokens,
            generation_s=self.generation_s - earlier.generation_s,
            cached_tokens=None
            if self.cached_tokens is None or earlier.cached_tokens is None
            else self.cached_tokens - earlier.cached_tokens,
        )
        if found.prompt_tokens < 0 or found.generated_tokens < 0:
            raise ServeError(
                "llama-server's counters ran backwards: it was started anew between "
                "two readings, or they were taken in the wrong order"
            )
        return found


def parse_metrics(text: str) -> Counters:
    """Read `/metrics` in Prometheus' text format."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        values = {
            sample.name: sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }
    except ValueError as error:
        raise ServeError(
            f"/metrics: not in Prometheus' text format: {error}"
        ) from error

    def counter(name: str) -> float:
        try:
            return float(values[_PREFIX + name])
        except KeyError:
            raise ServeError(
                f"/metrics: no counter {_PREFIX}{name}; this llama.cpp counts otherwise"
            ) from None

    cached = values.get(f"{_PREFIX}prompt_tokens_cached_total")
    return Counters(
        prompt_tokens=counter("prompt_tokens_total"),
        prompt_s=counter("prompt_seconds_total"),
        generated_tokens=counter("tokens_predicted_total"),
        generation_s=counter("tokens_predicted_seconds_total"),
        cached_tokens=None if cached is None else float(cached),
    )


class _Tokens(msgspec.Struct, frozen=True):
    tokens: tuple[int, ...]


def tokenize(
    site: Site, text: str, *, timeout_s: float, add_special: bool = False
) -> tuple[int, ...]:
    """The numbers of a text's tokens; special ones written out in it are read as such.

    `add_special` puts the vocabulary's own beginning in front. NoAnswerError or
    WrongAnswerError where the server does not tell.
    """
    asked = {"content": text, "add_special": add_special, "parse_special": True}
    return site.post("/tokenize", asked, timeout_s=timeout_s).read(_Tokens).tokens
