from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from llamatrix.engines.llama_cpp.launch import server_argv
from llamatrix.engines.llama_cpp.output import ServerCapabilities, parse_help
from llamatrix.engines.protocol import Launch
from llamatrix.errors import ServeError

DIALECT = ServerCapabilities(no_page="--no-webui", fits=True, verbosity=3)


def test_argv_has_the_published_flags_and_ours(launch: Launch) -> None:
    argv = server_argv(launch, port=8080, capabilities=DIALECT)
    assert argv[0] == str(launch.program)
    flags = dict(pairwise(argv))
    asked = {
        "--host": "127.0.0.1",
        "--port": "8080",
        "--alias": "qwen35-27b",
        "--ctx-size": "130672",
        "--temp": "0.6",
        "--top-k": "20",
        "--batch-size": "2048",
        "--ubatch-size": "512",
        "--cache-type-k": "q8_0",
        "--cache-type-v": "q8_0",
        "--flash-attn": "on",
        "--parallel": "1",
        "--n-gpu-layers": "99",
        "--fit": "off",
        "--chat-template-file": str(launch.template),
        "--chat-template-kwargs": '{"enable_thinking": true}',
    }
    assert asked.items() <= flags.items()
    assert {"--jinja", "--context-shift", "--metrics", "--no-webui"} <= set(argv)


def test_unset_setting_adds_no_flag(launch: Launch) -> None:
    argv = server_argv(launch, port=1, capabilities=DIALECT)
    assert "--top-p" not in argv
    assert "--min-p" not in argv


def test_seed_is_given_where_there_is_one(launch: Launch) -> None:
    seeded = server_argv(replace(launch, seed=0), port=1, capabilities=DIALECT)
    assert dict(pairwise(seeded))["--seed"] == "0"
    assert "--seed" not in server_argv(launch, port=1, capabilities=DIALECT)


def test_unknown_flag_is_not_used(launch: Launch) -> None:
    old = ServerCapabilities(no_page=None, fits=False, verbosity=3)
    argv = server_argv(launch, port=1, capabilities=old)
    assert "--fit" not in argv
    assert "--no-webui" not in argv


def test_extra_flags_come_last(launch: Launch) -> None:
    asked = replace(launch, extra=("--no-repack",))
    assert server_argv(asked, port=1, capabilities=DIALECT)[-1] == "--no-repack"


def test_newer_flag_is_preferred_if_help_has_both() -> None:
    text = "--ui, --webui, --no-ui, --no-webui  the web page\n--fit [on|off]\n"
    assert parse_help(text) == ServerCapabilities(
        no_page="--no-ui", fits=True, verbosity=3
    )


def test_verbosity_is_read_from_help() -> None:
    assert parse_help("  - 3: info\n  - 4: trace (more info)\n").verbosity == 4
    assert parse_help("  - 3: info\n  - 4: debug\n").verbosity == 3


def test_missing_template_is_reported_before_start(launch: Launch) -> None:
    gone = replace(launch, template=Path("/nowhere/x.jinja"))
    with pytest.raises(ServeError, match=r"/nowhere/x.jinja: .* cannot be read"):
        gone.template_sha256()
