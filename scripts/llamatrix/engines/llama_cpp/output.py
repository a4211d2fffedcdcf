"""Parse what llama-server prints and answers: its help, its log, its HTTP replies."""

import hashlib
import re
import signal
from dataclasses import dataclass

from msgspec import Struct

from llamatrix.engines.protocol import Counters, StartupFailure
from llamatrix.errors import ServeError

_DEFAULT_VERBOSITY = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerCapabilities:
    """How one llama-server differs from another, read from its own help.

    There is no table of versions: an untried pin answers the same questions.
    """

    no_page: str | None
    """The flag that leaves out the web page; None where there is no page."""
    fits: bool
    """Whether it knows `--fit`, which shrinks unset flags to the device's memory."""
    verbosity: int
    """The lowest level at which the log has buffer sizes and cache types."""
    is_ik: bool = False
    """Whether it is ik_llama.cpp's, which spells some flags otherwise."""


def parse_help(text: str) -> ServerCapabilities:
    """Parse `llama-server --help`."""
    flags = set(re.findall(r"--[a-z][a-z0-9-]*", text))
    trace = re.search(r"^\s*-\s*(\d): trace\b", text, re.MULTILINE)
    return ServerCapabilities(
        no_page=next(
            (flag for flag in ("--no-ui", "--no-webui") if flag in flags), None
        ),
        fits="--fit" in flags,
        verbosity=int(trace[1]) if trace else _DEFAULT_VERBOSITY,
        is_ik="--no-fused-moe" in flags,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheType:
    """One of the server's key-value caches; sliding windows have one of their own."""

    k: str
    v: str


def cache_types(log_text: str) -> tuple[CacheType, ...]:
    """Return the caches in the order of the log: the full one first."""
    found = re.findall(
        r"(?:llama_kv_cache: |KV self )size +=.* K \((\w+)\):.* V \((\w+)\):", log_text
    )
    return tuple(CacheType(k=k, v=v) for k, v in found)


def end_tokens(log_text: str) -> tuple[int, ...]:
    """Return the tokens that end a generation, as the loader lists them."""
    found = re.findall(r"EOG token\s*= *(\d+)", log_text)
    return tuple(sorted(set(map(int, found))))


_FAILURES = (
    (StartupFailure.PORT_TAKEN, r"couldn't bind HTTP server socket"),
    (
        StartupFailure.TEMPLATE,
        r"failed to initialize chat template|chat template is not supported|--chat-template-file",
    ),
    (
        StartupFailure.MEMORY,
        r"failed to create.context|failed to allocate|out of memory",
    ),
    (StartupFailure.WEIGHTS, r"failed to load model|corrupted or incomplete"),
)
"""Words of llama-server's log at b8643 and of October 2026, the most specific first."""


def diagnose(log_text: str, returncode: int | None) -> tuple[StartupFailure, str]:
    """Return why a server ended while starting, and the line of its log that says so.

    The pin of April says that the cache cannot be allocated and then runs into a
    segmentation fault: the words decide, not the signal.
    """
    for failure, words in _FAILURES:
        if line := re.search(
            f"^.*({words}).*$", log_text, re.IGNORECASE | re.MULTILINE
        ):
            return failure, line[0].strip()
    killed = returncode == -signal.SIGKILL
    return StartupFailure.MEMORY if killed else StartupFailure.UNKNOWN, ""


class _GenerationSettings(Struct, frozen=True):
    n_ctx: int


class Props(Struct, frozen=True):
    """`/props`, as far as both old and new servers have it."""

    default_generation_settings: _GenerationSettings
    total_slots: int
    model_alias: str
    chat_template: str
    build_info: str = ""
    """`b8643-f49e91787`: build number and commit as they were compiled in; ik has none."""

    @property
    def context_tokens(self) -> int:
        """The capacity of one slot."""
        return self.default_generation_settings.n_ctx

    @property
    def template_sha256(self) -> str:
        text = self.chat_template.removesuffix("\n")
        return hashlib.sha256(text.encode()).hexdigest()

    def is_template(self, sha256: str) -> bool:
        """Whether a file of this hash is in use; Jinja drops one newline at its end."""
        text = self.chat_template.removesuffix("\n").encode()
        return sha256 in {
            hashlib.sha256(text + end).hexdigest() for end in (b"", b"\n")
        }


class Tokens(Struct, frozen=True):
    """The reply of `/tokenize`."""

    tokens: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class DraftCounters:
    """What a server has decoded and drafted since its start, or between two readings."""

    decode_calls: int
    """Of the model itself, prompts included; the draft's own are not counted."""
    drafts: int
    """Verified: one for each step."""
    drafted: int
    """Tokens."""
    accepted: int
    accepted_by_position: tuple[int, ...]

    def since(self, earlier: "DraftCounters") -> "DraftCounters":
        before = earlier.accepted_by_position
        return DraftCounters(
            decode_calls=self.decode_calls - earlier.decode_calls,
            drafts=self.drafts - earlier.drafts,
            drafted=self.drafted - earlier.drafted,
            accepted=self.accepted - earlier.accepted,
            accepted_by_position=tuple(
                count - (before[place] if place < len(before) else 0)
                for place, count in enumerate(self.accepted_by_position)
            ),
        )


def parse_draft_counters(text: str) -> DraftCounters:
    """Parse `/metrics`; counters of drafts are absent before the first, and in old pins."""
    from prometheus_client.parser import text_string_to_metric_families

    values: dict[str, int] = {}
    positions: dict[int, int] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            name = sample.name.removeprefix("llamacpp:")
            if name == "spec_decode_num_accepted_tokens_per_pos_total":
                positions[int(sample.labels["position"])] = int(sample.value)
            else:
                values[name] = int(sample.value)
    return DraftCounters(
        decode_calls=values.get("n_decode_total", 0),
        drafts=values.get("spec_decode_num_drafts_total", 0),
        drafted=values.get("spec_decode_num_draft_tokens_total", 0),
        accepted=values.get("spec_decode_num_accepted_tokens_total", 0),
        accepted_by_position=tuple(positions[place] for place in sorted(positions)),
    )


def parse_metrics(text: str) -> Counters:
    """Parse `/metrics` in Prometheus' text format.

    The two speed gauges are never read: they are averages since the start at one pin
    and since the last scrape at another (facts of both pins, 2026-11).
    """
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
            return float(values[f"llamacpp:{name}"])
        except KeyError:
            raise ServeError(
                f"/metrics: no counter llamacpp:{name}; this llama.cpp counts otherwise"
            ) from None

    cached = values.get("llamacpp:prompt_tokens_cached_total")
    return Counters(
        prompt_tokens=counter("prompt_tokens_total"),
        prompt_s=counter("prompt_seconds_total"),
        generated_tokens=counter("tokens_predicted_total"),
        generation_s=counter("tokens_predicted_seconds_total"),
        cached_tokens=None if cached is None else float(cached),
    )
