"""OpenCode as a program: its versions' quirks, environment and command line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llamatrix import shell
from llamatrix.errors import MeasureError
from llamatrix.sandbox.spec import HOME, TOOLS, inside_path

PROVIDER = "local"
CONFIG = ".config/opencode"
CATALOGUE = f"{CONFIG}/models.json"
"""Of the world's models, in the home: an empty one. Nothing of OpenCode's own is offered
here, and reading it takes a third of 1.18.33's start."""
MODEL_URL = "LLAMATRIX_MODEL_URL"
"""The variable that the configuration takes the model's address from."""
_VERSION_TIMEOUT_S = 60


@dataclass(frozen=True, kw_only=True, slots=True)
class Quirks:
    """What differs between the generations of OpenCode that are driven."""

    tools: tuple[str, ...]
    """Offered by the main agent under `run`, without any MCP server."""
    provider_options: Mapping[str, bool]
    """Options of the provider that keep a slow prefill from being cut."""
    lsp_default: bool
    lsp_key: bool
    """Whether `lsp: true` may be written."""
    first_prompt_tokens: int
    """Of the first request with Context7, its rule and skill, in a vocabulary of 200,000
    words: none of today's models need fewer."""


_TOOLS = ("bash", "edit", "glob", "grep", "read", "skill", "task", "todowrite")
_OLD = Quirks(
    tools=(*_TOOLS, "webfetch", "write"),
    provider_options={"timeout": False},  # a false chunkTimeout is refused
    lsp_default=True,
    lsp_key=False,
    first_prompt_tokens=11_400,
)
_NEW = Quirks(
    tools=(*_TOOLS, "webfetch", "write"),
    provider_options={"timeout": False, "headerTimeout": False, "chunkTimeout": False},
    lsp_default=False,
    lsp_key=True,
    first_prompt_tokens=8_500,
)
_FIRST_NEW = (1, 14)
_LONGEST_ANSWER_TOKENS = 32_000
"""OpenCode asks for no longer one, whatever its configuration says."""


def quirks_of(version: str) -> Quirks:
    """1.3.2 and 1.18.33 are known; others take those of their neighbour."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers is None:
        raise MeasureError(f"opencode: {version!r} is no version")
    return _NEW if (int(numbers[1]), int(numbers[2])) >= _FIRST_NEW else _OLD


def room_for_prompts(context_tokens: int, output_tokens: int) -> int:
    """What is left before OpenCode compacts: the context less the longest answer."""
    return context_tokens - min(output_tokens, _LONGEST_ANSWER_TOKENS)


def version(program: Path, *, home: Path) -> str:
    """What the binary says it is; `home` is a folder it may write to."""
    env = {"HOME": str(home), "PATH": "/usr/bin:/bin", **_SWITCHES}
    ended = shell.run(
        [str(program), "--version"], timeout_s=_VERSION_TIMEOUT_S, env=env, cwd=home
    )
    if not ended.ok:
        raise MeasureError(f"opencode does not start\n{ended.complaint()}")
    return ended.out.strip()


_SWITCHES = {
    "OPENCODE_DISABLE_MODELS_FETCH": "1",
    "OPENCODE_DISABLE_AUTOUPDATE": "1",
    "OPENCODE_DISABLE_SHARE": "1",
}


def environment(extra: Mapping[str, str], *, lsp: bool) -> dict[str, str]:
    """All that OpenCode and the agent's shell see; `extra` wins."""
    env = {
        "HOME": str(HOME),
        "PATH": inside_path(),
        "TMPDIR": str(HOME / "tmp"),
        "LANG": "C.UTF-8",
        "TERM": "dumb",
        "USER": "agent",
        "UV_PYTHON_DOWNLOADS": "never",
        "OPENCODE_MODELS_PATH": str(HOME / CATALOGUE),
        **_SWITCHES,
    }
    if not lsp:
        env["OPENCODE_DISABLE_LSP_DOWNLOAD"] = "1"
    return env | dict(extra)


def argv(*, model: str, title: str | None, session: str | None) -> tuple[str, ...]:
    """One turn; the prompt goes to standard input, where nothing quotes it."""
    words = [str(TOOLS / "opencode"), "run", "--format", "json", "--thinking"]
    words += ["--model", f"{PROVIDER}/{model}"]
    if session is not None:
        words += ["--session", session]
    elif title is not None:
        words += ["--title", title]
    return tuple(words)
