"""Running an agent's programs: what they were asked meanwhile, and whom reports are of."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from msgspec.structs import replace

from llamatrix.sandbox.spec import SandboxSpec
from llamatrix.trials.checks.execution_environment import ExecutionEnvironment
from llamatrix.trials.checks.session import CannotJudgeError, Program, Ran, run_session
from llamatrix.trials.stubs.post_api import FIRST_TITLE
from llamatrix.trials.stubs.world import World

Written = Callable[[Mapping[str, str]], Path]
PRINTS = (
    "import httpx\n"
    "answer = httpx.get('https://jsonplaceholder.typicode.com/posts/1')\n"
    "print(answer.status_code, answer.json().get('title'))\n"
)


def program(*words: str, name: str = "one", **more: object) -> Program:
    parts: dict[str, object] = {"name": name, "words": words, "timeout_s": 60.0}
    return Program(**(parts | more))  # type: ignore[arg-type]


def run(
    folder: Path, execution: ExecutionEnvironment, *programs: Program
) -> tuple[Ran, ...]:
    return run_session(folder, execution, programs)


def test_each_program_gets_its_own_output_and_requests(
    written: Written, execution: ExecutionEnvironment
) -> None:
    folder = written({"a.py": PRINTS, "b.py": "print('nothing')"})
    first, second = run(folder, execution, program("a.py"), program("b.py", name="two"))
    assert first.out == f"200 {FIRST_TITLE}\n"
    assert [each.path for each in first.requests] == ["/posts/1"]
    assert (second.out, second.requests) == ("nothing\n", ())


@pytest.mark.parametrize(
    ("world", "printed"),
    [
        (World.FAILING, "500 None"),
        (World.EMPTY, "200"),
        (World.NULL, "200 None"),
        (World.REAL, f"200 {FIRST_TITLE}"),
    ],
)
def test_service_answers_according_to_the_programs_world(
    written: Written, execution: ExecutionEnvironment, world: World, printed: str
) -> None:
    (ran,) = run(written({"a.py": PRINTS}), execution, program("a.py", world=world))
    assert ran.out.strip() == printed


def test_every_request_in_the_other_world_gets_another_title(
    written: Written, execution: ExecutionEnvironment
) -> None:
    folder = written({"a.py": PRINTS + PRINTS})
    (ran,) = run(folder, execution, program("a.py", world=World.OTHER))
    first, second = ran.out.splitlines()
    assert first != second
    assert all(line.startswith(f"200 {execution.title}") for line in (first, second))


def test_the_workspace_is_the_same_before_every_program(
    written: Written, execution: ExecutionEnvironment
) -> None:
    counts = (
        "from pathlib import Path\n"
        "mark = Path('mark')\n"
        "print(mark.exists(), Path('there').read_text())\n"
        "mark.touch()\nPath('there').write_text('changed')\n"
    )
    folder = written({"a.py": counts, "there": "as it was"})
    ran = run(folder, execution, *(program("a.py", name=str(n)) for n in range(3)))
    assert [each.out for each in ran] == ["False as it was\n"] * 3
    assert sorted(path.name for path in folder.iterdir()) == ["a.py", "there"]


def test_program_without_a_variable_runs_without_the_files_that_set_it(
    written: Written, execution: ExecutionEnvironment
) -> None:
    looks = (
        "from pathlib import Path\n"
        "print(*sorted(str(each) for each in Path().rglob('.env*')))\n"
    )
    names = (".env", ".env.local", ".envrc", "pkg/.env", ".env.d/x", ".environment")
    folder = written({"a.py": looks, **dict.fromkeys(names, "KEY=1\n")})
    bare, after = run(
        folder,
        execution,
        program("a.py", without=("KEY",)),
        program("a.py", name="two"),
    )
    assert bare.out.split() == [".env.d", ".environment"]
    assert after.out.split() == sorted({*names, ".env.d"} - {".env.d/x"})


def test_alternatives_after_the_first_that_works_are_left_out(
    written: Written, execution: ExecutionEnvironment
) -> None:
    folder = written({"a.py": "raise SystemExit(3)", "b.py": "print('right')"})
    ran = run(
        folder,
        execution,
        program("a.py", until="right"),
        program("b.py", until="right"),
        program("b.py", until="right"),
        program("a.py", name="after the first way", needs=0),
        program("b.py", name="after the second way", needs=1),
    )
    assert [(each.program.name, each.code) for each in ran] == [
        ("one", 3),
        ("one", 0),
        ("after the second way", 0),
    ]


def test_handed_out_files_exclude_links(
    written: Written, execution: ExecutionEnvironment
) -> None:
    writes = (
        "import os\nos.mkdir('out')\nopen('out/a.bin', 'wb').write(bytes(100_000))\n"
        "os.symlink('/etc/passwd', 'out/b')\nopen(b'out/\\xff', 'wb').write(b'x')\n"
    )
    folder = written({"a.py": writes, "out/left.bin": "left"})
    (ran,) = run(folder, execution, program("a.py", hand_out="out"))
    assert ran.files == {"a.bin": bytes(100_000), r"\xff": b"x"}


def test_a_program_that_does_not_end_is_ended(
    written: Written, execution: ExecutionEnvironment
) -> None:
    folder = written({"a.py": "import time\ntime.sleep(600)", "b.py": "print(1)"})
    slow, after = run(
        folder, execution, program("a.py", timeout_s=0.5), program("b.py", name="two")
    )
    assert "did not end within" in slow.trouble
    assert after.out == "1\n"


def test_report_printed_by_a_judged_program_is_ignored(
    written: Written, execution: ExecutionEnvironment
) -> None:
    forged = "LX 0 " + "0" * 64 + ' {"over": true}'
    folder = written({"a.py": f"print({forged!r}, flush=True)\nraise SystemExit(1)"})
    (ran,) = run(folder, execution, program("a.py"))
    assert ran.code == 1


def test_judged_program_cannot_read_its_judges_memory(
    written: Written, execution: ExecutionEnvironment
) -> None:
    """Its judge's descriptors are not to be opened, as it is of the same user."""
    looks = (
        "import os\n"
        "here = os.getppid()\n"
        "while here > 1:\n"
        "    text = open(f'/proc/{here}/cmdline').read()\n"
        "    if 'steps.py' in text:\n"
        "        break\n"
        "    here = int(open(f'/proc/{here}/stat').read().rpartition(')')[2].split()[1])\n"
        "print(open(f'/proc/{here}/environ').read())\n"
    )
    folder = written({"a.py": looks})
    (ran,) = run(folder, execution, program("a.py"))
    if ran.code == 0:
        pytest.skip("root may look at every process")
    assert "PermissionError" in "\n".join(ran.tail)


def test_program_that_kills_its_judge_leaves_no_report(
    written: Written, execution: ExecutionEnvironment
) -> None:
    kills = (
        "import os, signal\n"
        "here = os.getppid()\n"
        "while 'steps.py' not in open(f'/proc/{here}/cmdline').read():\n"
        "    here = int(open(f'/proc/{here}/stat').read().rpartition(')')[2].split()[1])\n"
        "os.kill(here, signal.SIGKILL)\n"
    )
    folder = written({"a.py": kills, "b.py": "print(1)"})
    assert run(folder, execution, program("a.py"), program("b.py", name="two")) == ()


def test_sandbox_that_does_not_open_makes_checks_not_applicable(
    written: Written, execution: ExecutionEnvironment, tmp_path: Path
) -> None:
    spec = SandboxSpec(bwrap=tmp_path / "nothing")
    lost = replace(execution, sandbox=spec, switch=0)
    with pytest.raises(CannotJudgeError, match="nothing"):
        run(written({"a.py": ""}), lost, program("a.py"))
