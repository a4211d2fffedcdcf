"""Documents: figures are computed from records; paths and commands exist."""

import itertools
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
import tasks
from tests.documents import EXAMPLES, engines, renewed, without_blocks
from tests.shipped import ROOT, shipped_matrix

from llamatrix.provision.weights.fit import known_shape
from llamatrix.reference.gpu import load_gpus
from llamatrix.report.inputs import load_published

README = ROOT / "README.md"
MATRIX_PAGE = ROOT / "docs" / "explanation" / "matrix.md"
DOCUMENTS = (README, *sorted(EXAMPLES.glob("*/README.md")))
RENEW = "renew it with `pytest tests/test_documents.py --update-golden`"
NO_FIGURES = (
    r"```.*?```",  # commands, and matrix.toml, which a test of its own compares
    r"`[^`\n]*`",
    r"<!--.*?-->",
    r"\[reports/examples/[^\]]*\]\([^)]*\)|\]\([^)]*\)",  # links
    r"\b(?:Qwen3\.5|Gemma4)(?:-\d+B(?:-A\d+B)?)?\b",
    r"\b[HA]\d00s?\b|\bRTX \d{4}\b|\b\d\d GB CUDA card\b",
    r"\bx86-64\b|\bAVX2\b|\bsha256\b|\bf16\b|\bContext7\b",
)
CONSTANTS = {
    "Python 3.11": "pyproject.toml's requires-python",
    "CUDA card of 22 GiB": "what `config/context.py` asks of a card",
    "up to 8K": "the largest prompt of the profile's sweep",
    "65,336": "the largest prompt of the published sweep",
    "beyond 1 %": "where a first repetition is marked",
    "since 2013": "the year of AVX2",
    "prompt of 512 tokens": "the definition of pp512",
    "generation of 128": "the definition of tg128",
    "0 done": "an exit code",
    "8 done": "an exit code",
    "1 a check": "an exit code",
    "2 to 7": "exit codes",
    "130 interrupted": "an exit code",
    "2026-04-05": "the day of the published post",
    "2026-04-03": "the day of pin april's commit",
    "2026-11-29": "the day of a run that is not an example",
}
"""What is no measurement: phrases with the reason."""

document = pytest.mark.parametrize(
    "path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


@document
def test_computed_blocks_equal_the_records(
    path: Path, request: pytest.FixtureRequest
) -> None:
    text = path.read_text()
    now = renewed(text)
    if request.config.getoption("--update-golden"):
        path.write_text(now)
        text = now
    assert text == now, f"{path.name}: {RENEW}"


@document
def test_no_figure_outside_the_blocks_is_a_measurement(path: Path) -> None:
    left = figures_in(path.read_text(), (*computed_phrases(path), *days(path)))
    assert not left, (
        f"{path.name}: figures that no test computes: {left}; quote them in a "
        "`computed` block, or name them in CONSTANTS if they are no measurements"
    )


def test_measurement_in_a_sentence_is_noticed() -> None:
    assert figures_in("An H200 reached 2,515 tokens/s at `-b 2048`.\n", ()) == [
        "An  reached 2,515 tokens/s at ."
    ]


def figures_in(text: str, known: Iterable[str]) -> list[str]:
    """Return the lines that quote a figure which is neither computed nor a constant."""
    text = without_blocks(text)
    for phrase in (*known, *CONSTANTS):
        text = text.replace(phrase, "")
    for pattern in NO_FIGURES:
        text = re.sub(pattern, "", text, flags=re.DOTALL)
    return [line for line in text.splitlines() if re.search(r"\d", line)]


def test_figures_within_sentences_are_computed() -> None:
    text = README.read_text() + MATRIX_PAGE.read_text()
    assert [one for one in computed_phrases(README) if one not in text] == []


def computed_phrases(path: Path) -> Iterator[str]:
    """Sentences and cells of the README, written from what they are computed from."""
    if path != README:
        return
    blog = load_published(
        ROOT / "reports" / "published" / "blog-2026-04-05.toml",
        models=shipped_matrix().models,
        gpus=load_gpus(),
    )
    tokens, seconds, rate = (
        blog.by_id[f"agent/gemma4-26b-a4b/p2/{name}"].value
        for name in ("generated-tokens", "generation-time", "generation-rate")
    )
    yield (
        f"{tokens:,.0f} tokens in {seconds} s are {tokens / seconds:.1f} tokens/s, "
        f"not {rate}"
    )
    models = shipped_matrix().profiles["synthetic"].models
    weights = sum(known_shape(model).tensor_bytes for model in models)
    yield f"{weights / 1e9:.0f} GB of disk for weights"


def days(path: Path) -> set[str]:
    """Return the days on which the records of an example were measured."""
    folders = [path.parent] if path != README else [one.parent for one in DOCUMENTS[1:]]
    return {record.measured_at[:10] for folder in folders for record in engines(folder)}


def test_every_example_has_a_readme() -> None:
    folders = {path.parent for path in EXAMPLES.glob("*/records")}
    assert {path.parent for path in DOCUMENTS[1:]} == folders
    for folder in folders:
        assert f"reports/examples/{folder.name})" in README.read_text()


def test_quoted_matrix_is_part_of_the_shipped_one() -> None:
    (quoted,) = re.findall(r"```toml\n(.*?)```", MATRIX_PAGE.read_text(), re.DOTALL)
    shipped = tomllib.loads((ROOT / "matrix.toml").read_text())
    assert list(differences(tomllib.loads(quoted), shipped, "")) == []


def differences(quoted: object, shipped: object, where: str) -> Iterator[str]:
    """Name what is quoted otherwise; lists and tables may be shortened."""
    match quoted, shipped:
        case dict(), dict():
            for key, value in quoted.items():
                yield from differences(value, shipped.get(key), f"{where}.{key}")
        case list(), list():
            if not set(quoted) <= set(shipped):
                yield f"{where}: {quoted} is not part of {shipped}"
        case _ if quoted != shipped:
            yield f"{where}: {quoted!r} is {shipped!r} in matrix.toml"


@pytest.mark.parametrize(
    ("section", "file"),
    [
        ("Tidy samples", "speed.csv"),
        ("Tidy trials", "trials.csv"),
        ("Tidy turns", "turns.csv"),
    ],
)
def test_documented_columns_equal_those_of_the_file(section: str, file: str) -> None:
    text = (ROOT / "reports" / "README.md").read_text()
    documented = [
        name
        for line in text.split(f"## {section}\n")[1].split("\n## ")[0].splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    for shipped in EXAMPLES.glob(f"*/{file}"):
        assert shipped.read_text().splitlines()[0].split(",") == documented, shipped


PROSE = [
    ROOT / name
    for name in (
        *("README.md", "CONTRIBUTING.md", "nix/README.md", "reports/README.md"),
        *("scripts/README.md", "scripts/llamatrix/tasks/README.md"),
        "templates/README.md",
    )
]
SOURCE = ROOT / "scripts" / "llamatrix"
TOP_FOLDERS = "|".join(
    (
        *("nix", "reports", "scripts", "templates", "tests"),
        *sorted(path.parent.name for path in SOURCE.glob("*/__init__.py")),
    )
)
MADE_BY_COMMANDS = re.compile(
    r"reports/(records|certificates|regress|by-hand)/|reports/\w+\.(csv|json|md|sqlite)$|reports/tables/"
)
PLACEHOLDER = re.compile(r"^([A-Z]+|.*[<*].*)(\.\w+)?$")

prose = pytest.mark.parametrize(
    "path", PROSE, ids=lambda path: path.relative_to(ROOT).as_posix()
)


@prose
def test_named_paths_exist(path: Path) -> None:
    missing = [name for name in paths_in(path.read_text()) if not exists(name)]
    assert missing == []


def paths_in(text: str) -> Iterator[str]:
    """Yield paths of the repository and of the package, without files that we make."""
    for match in re.finditer(rf"[`(\s]((?:{TOP_FOLDERS})/[^`)\s;,|]*)", text):
        if not MADE_BY_COMMANDS.search(match[1]):
            yield match[1]


def exists(name: str) -> bool:
    """Whether a path exists, up to its first placeholder."""
    parts = itertools.takewhile(
        lambda part: not PLACEHOLDER.match(part), name.split("/")
    )
    path = "/".join(parts)
    return (ROOT / path).exists() or (SOURCE / path).exists()


@prose
def test_named_commands_and_flags_exist(path: Path) -> None:
    unknown = list(unknown_commands(path.read_text()))
    assert unknown == []


def test_table_of_commands_names_commands_and_flags_that_exist() -> None:
    section = (ROOT / "docs" / "commands.md").read_text()
    rows = [line.split("|")[1] for line in section.splitlines() if line[:3] == "| `"]
    named = [f"invoke {span}" for row in rows for span in re.findall("`(.*?)`", row)]
    assert len(named) > len(rows)
    assert list(unknown_commands("\n".join(named))) == []


def unknown_commands(text: str) -> Iterator[str]:
    """Yield `invoke` lines in code whose command or flags Invoke does not know."""
    for match in re.finditer(r"\binvoke ([a-z][\w-]*)([^`\n#]*)", text):
        name, rest = match.groups()
        if name not in tasks.namespace.task_names:
            yield match[0]
            continue
        known = {
            f"--{argument.name.replace('_', '-')}"
            for argument in tasks.namespace[name].get_arguments()
        }
        if not set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known:
            yield match[0]


def test_missing_path_and_unknown_flag_are_noticed() -> None:
    text = (
        "see `tests/gone.py`, then run `invoke bench --profil smoke` or `invoke bensh`"
    )
    assert [name for name in paths_in(text) if not exists(name)] == ["tests/gone.py"]
    assert len(list(unknown_commands(text))) == 2
