"""What a running llama-server says of itself, held against what was asked of it."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import Struct

from llamatrix.engines.llama_cpp.launch import Launch
from llamatrix.errors import ServeError


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
