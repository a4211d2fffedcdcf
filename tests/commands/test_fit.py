"""`invoke fit`, as a user runs it: no GPU, no download, a clear answer for every card."""

import json
import stat
from pathlib import Path

import msgspec
import pytest
from tests.commands.conftest import RunInvoke
from tests.provision.weights import reported_files

from llamatrix.config.cell import Cell
from llamatrix.project import Project
from llamatrix.provision.build import manifest_of
from llamatrix.provision.weights.synthetic.models import Scale, SyntheticSpec
from llamatrix.provision.weights.synthetic.write import write


@pytest.fixture
def fit_params(project: Project, cells: tuple[Cell, ...]) -> Project:
    """A CPU build of `current` whose llama-fit-params prints fixed figures."""
    folder = project.cache / "builds" / "current-cpu-0000"
    program = folder / "bin" / "llama-fit-params"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\nif [ "$1" = --help ]; then echo "--fit-print [on|off]"; exit; fi\n'
        'test -f "$2" && echo "Host 16798 1237 515"\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    manifest = msgspec.json.encode(manifest_of(cells[0]))
    (folder / "build.json").write_bytes(manifest)
    return project


@pytest.mark.usefixtures("fit_params")
def test_fit_shows_both_figures_and_their_difference(run_invoke: RunInvoke) -> None:
    ended = run_invoke("fit", "--details", "--model", "qwen35-27b", "--vram", "24")
    assert ended.returncode == 0, ended.stderr
    assert "165,376" in ended.stdout
    assert "192,256" in ended.stdout
    assert "16,798.0 / 16,798 (+0.0)" in ended.stdout
    assert "1,237.6 / 1,237 (+0.6)" in ended.stdout
    assert "682 MiB" in ended.stdout
    assert "130,672" in ended.stdout
    assert "april is not cross-checked: not built for the CPU" in ended.stdout
    assert "contradicts" in ended.stdout


@pytest.mark.usefixtures("project")
def test_fit_has_one_row_per_model_and_names_pins_that_differ(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke("fit", "--vram", "24GiB")
    assert ended.returncode == 0, ended.stderr
    largest, _, would_fit = ended.stdout.partition("### What would fit")
    rows = [line for line in largest.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 4
    assert "79,616 (april 68,608)" in rows[-1]
    assert max(map(len, rows)) <= 100
    assert len(ended.stdout.splitlines()) <= 20
    assert "| qwen35-35b-a3b | current |   200,000 | n_cpu_moe = 2 " in would_fit


@pytest.mark.usefixtures("project")
def test_fit_without_a_build_says_that_the_prediction_is_unchecked(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke("fit", "--model", "gemma4-31b", "--vram", "24GiB", "--json")
    assert ended.returncode == 0, ended.stderr
    april, current = json.loads(ended.stdout)
    assert (april["pin"], current["pin"]) == ("april", "current")
    assert april["largest_context_tokens"] < current["largest_context_tokens"]
    assert current["cross_checks"] == []
    assert "invoke build" in current["not_checked"]
    contexts = [one["context_tokens"] for one in current["forecasts"]]
    assert contexts == [8192, 32768, 65336, 65536, 131072, 262144]


@pytest.mark.usefixtures("project")
def test_fit_on_a_card_that_is_too_small_says_so(run_invoke: RunInvoke) -> None:
    ended = run_invoke("fit", "--model", "qwen35-27b", "--vram", "16GiB")
    assert ended.returncode == 0
    assert "does not fit: 17.2 GiB at the smallest" in ended.stdout
    assert "| yes" not in ended.stdout


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("model", "setting", "host"),
    [
        ("qwen35-35b-a3b", "n_cpu_moe = 24", 11.4),
        ("qwen35-27b", "n_gpu_layers = 36", 7.36),
    ],
)
def test_fit_of_a_model_that_is_too_large_offers_alternatives(
    run_invoke: RunInvoke, model: str, setting: str, host: float
) -> None:
    flags = ("fit", "--model", model, "--vram", "12GiB")
    ended = run_invoke(*flags)
    assert "### What would fit" in ended.stdout
    assert f"| {setting}" in ended.stdout
    current = json.loads(run_invoke(*flags, "--json").stdout)[-1]
    found = current["alternatives"][0]
    assert (found["context_tokens"], found["setting"]) == (32768, setting)
    assert found["host_bytes"] / 2**30 == pytest.approx(host, rel=0.01)
    assert found["total"] <= 11 * 2**30
    assert "| no" not in run_invoke(*flags, "--details").stdout


@pytest.mark.usefixtures("project")
def test_fit_reports_all_models_of_the_profile(run_invoke: RunInvoke) -> None:
    ended = run_invoke("fit", "--profile", "published", "--json")
    found = json.loads(ended.stdout)
    assert [one["model"] for one in found] == [
        *("qwen35-27b", "qwen35-35b-a3b", "gemma4-26b-a4b", "gemma4-31b"),
    ]


@pytest.mark.usefixtures("project")
def test_fit_reads_a_local_file(run_invoke: RunInvoke, tmp_path: Path) -> None:
    path = tmp_path / "own.gguf"
    spec = SyntheticSpec(model="gemma4-31b", scale=Scale.TINY, chat_template="")
    write(spec, path, on_bytes=lambda _: None)
    ended = run_invoke("fit", "--model", str(path), "--vram", "2", "--json")
    assert ended.returncode == 0, ended.stderr
    _, current = json.loads(ended.stdout)
    assert (current["model"], current["largest_context_tokens"]) == ("own.gguf", 262144)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("flag", "value", "word"),
    [
        ("--model", "qwen35-27", "did you mean 'qwen35-27b'"),
        ("--vram", "24 gigs", "write for example 24GiB"),
        ("--vram", "0GiB", "no card is so small"),
        ("--vram", "-1GiB", "write for example 24GiB"),
        ("--vram", "9" * 400, "write for example 24GiB"),
        ("--reserve", "some", "write for example 24GiB"),
        ("--profile", "publishd", "did you mean 'published'"),
    ],
)
def test_fit_with_a_wrong_value_exits_2_with_the_remedy(
    run_invoke: RunInvoke, flag: str, value: str, word: str
) -> None:
    ended = run_invoke("fit", flag, value)
    assert ended.returncode == 2
    assert word in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.usefixtures("project")
def test_vram_without_a_unit_is_gib_and_may_be_used_whole(
    run_invoke: RunInvoke,
) -> None:
    flags = ("fit", "--model", "qwen35-35b-a3b", "--vram", "24", "--json")
    (_, kept), (_, all_of_it) = (
        json.loads(run_invoke(*flags, *more).stdout)
        for more in ((), ("--reserve", "0"))
    )
    assert kept["card_bytes"] == 24 * 2**30
    assert kept["largest_context_tokens"] < 200_000
    assert all_of_it["largest_context_tokens"] > 200_000
    assert kept["largest_without_reserve_tokens"] == all_of_it["largest_context_tokens"]


@pytest.mark.usefixtures("project")
def test_reserve_that_leaves_no_room_is_not_called_a_small_card(
    run_invoke: RunInvoke,
) -> None:
    flags = ("--vram", "24", "--reserve", "8")
    ended = run_invoke("fit", "--model", "qwen35-27b", *flags)
    assert "none: 6.85 GiB free at the smallest" in ended.stdout
    assert "does not fit" not in ended.stdout


@pytest.mark.usefixtures("project")
def test_headline_and_table_use_the_same_reserve(
    run_invoke: RunInvoke,
) -> None:
    ended = run_invoke(
        *("fit", "--details", "--model", "qwen35-35b-a3b", "--vram", "24GiB")
    )
    headline, *rows = (
        line
        for line in ended.stdout.splitlines()
        if "| current |" in line and "n_cpu_moe" not in line
    )
    cells = [cell.strip() for cell in headline.split("|")]
    largest, without = (int(cells[one].replace(",", "")) for one in (3, 4))
    for row in rows:
        tokens, fits = (row.split("|")[one].strip() for one in (3, -2))
        context = int(tokens.replace(",", ""))
        expected = "yes" if context <= largest else "tight"
        assert fits.startswith(expected if context <= without else "no"), row
    assert "leave about" not in ended.stdout


PROGRAM_FAILS = (
    "echo 'llama_model_load: error loading model: missing tensor' >&2; exit 1",
    "kill -SEGV $$",
    "echo nothing of use",
)


@pytest.mark.parametrize("says", PROGRAM_FAILS)
def test_failing_program_leaves_the_prediction_and_its_reason(
    run_invoke: RunInvoke, fit_params: Project, says: str
) -> None:
    program = fit_params.cache / "builds/current-cpu-0000/bin/llama-fit-params"
    program.write_text(f"#!/bin/sh\n{says}\n")
    ended = run_invoke("fit", "--model", "qwen35-27b", "--vram", "24GiB", "--json")
    assert ended.returncode == 0, ended.stderr
    _, current = json.loads(ended.stdout)
    assert current["forecasts"]
    assert current["cross_checks"] == []
    assert current["not_checked"].startswith("llama-fit-params: e")
    assert "\n" not in current["not_checked"]


def test_program_of_another_machine_leaves_the_prediction(
    run_invoke: RunInvoke, fit_params: Project
) -> None:
    program = fit_params.cache / "builds/current-cpu-0000/bin/llama-fit-params"
    program.write_bytes(b"\x7fELF" + bytes(60))
    ended = run_invoke("fit", "--model", "qwen35-27b", "--vram", "24GiB", "--json")
    assert ended.returncode == 0, ended.stderr
    assert "cannot be started" in json.loads(ended.stdout)[1]["not_checked"]


def test_file_that_the_pins_loader_refuses_is_reported_as_refused(
    run_invoke: RunInvoke, fit_params: Project, tmp_path: Path
) -> None:
    program = fit_params.cache / "builds/current-cpu-0000/bin/llama-fit-params"
    program.write_text(f"#!/bin/sh\n{PROGRAM_FAILS[0]}\n")
    path = reported_files.qwen35_27b(tmp_path)
    page = run_invoke("fit", "--model", str(path), "--vram", "24").stdout
    (row,) = (line for line in page.splitlines() if "refused by this pin" in line)
    assert "refused by this pin; april 262,144" in row
    assert "current refuses this file: llama-fit-params: exit code 1:" in page


def test_program_that_contradicts_the_prediction_decides_the_figures(
    run_invoke: RunInvoke, fit_params: Project, tmp_path: Path
) -> None:
    program = fit_params.cache / "builds/current-cpu-0000/bin/llama-fit-params"
    program.write_text(
        '#!/bin/sh\nif [ "$1" = --help ]; then echo "--fit-print"; exit; fi\n'
        'case "$*" in *"-c 32768"*) echo "Host 900 1000 300";;\n'
        '*) echo "Host 900 4000 600";; esac\n'
    )
    path = reported_files.gpt_oss(tmp_path)
    ended = run_invoke("fit", "--model", str(path), "--vram", "16", "--json")
    assert ended.returncode == 0, ended.stderr
    april, current = json.loads(ended.stdout)
    assert april["decided_by"] == "closed form"
    assert current["decided_by"] == "llama-fit-params"
    assert [one["agrees"] for one in current["cross_checks"]] == [False, False]
    shown = {one["context_tokens"]: one for one in current["forecasts"]}
    for tokens, cache, compute in ((32768, 1000, 300), (65536, 2000, 400)):
        assert shown[tokens]["cache"] == cache * 2**20
        assert shown[tokens]["compute"] == compute * 2**20
        assert shown[tokens]["weights"] == 900 * 2**20 - 2880 * 64 * 2
    page = run_invoke("fit", "--model", str(path), "--vram", "16").stdout
    assert "llama-fit-params contradicts the closed form" in page


@pytest.mark.usefixtures("project")
def test_reported_files_are_predicted_or_refused_in_one_line(
    run_invoke: RunInvoke, tmp_path: Path
) -> None:
    path = reported_files.gpt_oss(tmp_path)
    flags = ("fit", "--details", "--model", str(path), "--vram", "16GiB")
    page = run_invoke(*flags).stdout
    assert "unproven for" not in page
    assert "1,642" in page
    refused = run_invoke("fit", "--model", str(reported_files.projector(tmp_path)))
    assert refused.returncode == 3
    assert "a projector (mmproj)" in refused.stderr
    assert refused.stdout == ""
    newer = reported_files.newer_type(tmp_path, 42)
    page = run_invoke("fit", "--model", str(newer), "--vram", "24GiB").stdout
    assert "april refuses this file: it knows no tensor type 42 (q2_0)" in page


LOGGED = [
    ("qwen35-27b", "ctx_size = 130672", 192000, "q4_0", 3375.00, 149.62),
    ("qwen35-35b-a3b", "ctx_size = 200000", 168192, "q8_0", 1745.16, 62.81),
    ("gemma4-26b-a4b", "ctx_size = 256000", 131072, "f16", 2860.00, 0.0),
]


@pytest.mark.parametrize(("model", "size", "tokens", "kind", "cache", "state"), LOGGED)
def test_caches_and_states_equal_those_in_logs_of_others(
    run_invoke: RunInvoke,
    project: Project,
    model: str,
    size: str,
    tokens: int,
    kind: str,
    cache: float,
    state: float,
) -> None:
    """ggml-org/llama.cpp#27814 and #26499; ollama/ollama#16958."""
    text = project.matrix_file.read_text().replace(size, f"ctx_size = {tokens}")
    project.matrix_file.write_text(text.replace('"q8_0"', f'"{kind}"'))
    ended = run_invoke("fit", "--model", model, "--vram", "24GiB", "--json")
    assert ended.returncode == 0, ended.stderr
    for pin in json.loads(ended.stdout):
        shown = {one["context_tokens"]: one for one in pin["forecasts"]}[tokens]
        assert round(shown["cache"] / 2**20, 2) == cache
        assert round(shown["state"] / 2**20, 2) == state
