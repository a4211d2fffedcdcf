"""The program `llamatrix`: Invoke's own, with the commands of the checkout's tasks.py.

It works from any folder of a checkout, and elsewhere with the checkout that it is
installed from. `invoke` runs the same commands.
"""

import io
import os
import re
import shlex
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib import import_module
from itertools import pairwise
from pathlib import Path

from invoke import Argument, Collection, Exit, Program
from invoke.exceptions import ParseError

from llamatrix import __version__
from llamatrix.commands.flags import GIT_BISECT, SHORT, STOP_GIT_BISECT
from llamatrix.commands.registry import GROUPS
from llamatrix.config.complaint import nearest
from llamatrix.config.context import choose_profile
from llamatrix.config.expand import expand_plan
from llamatrix.config.load import load_matrix
from llamatrix.config.lock import load_lock
from llamatrix.errors import BenchError

_PACKAGE = Path("scripts") / "llamatrix"
_OWN = Path(__file__).resolve().parents[3]


def main() -> None:
    """Run the command of the arguments in the checkout around this folder."""
    root = checkout_at(Path.cwd())
    scripts = str(root / "scripts")
    if (
        root != _OWN
        and os.environ.get("PYTHONPATH", "").split(os.pathsep)[0] != scripts
    ):
        os.environ["PYTHONPATH"] = os.pathsep.join(
            [scripts, *filter(None, [os.environ.get("PYTHONPATH")])]
        )
        # the checkout's own code from here on
        argv = [sys.executable, "-m", "llamatrix.commands.program", *sys.argv[1:]]
        os.execv(sys.executable, argv)  # noqa: S606
    sys.path.insert(0, str(root))
    try:
        tasks = import_module("tasks")
    except Exit as refused:
        print(refused.message, file=sys.stderr)
        sys.exit(refused.code)
    Llamatrix(tasks.namespace, root).run(["llamatrix", *sys.argv[1:]])


def checkout_at(folder: Path) -> Path:
    """The nearest checkout upwards, else the one that this package lies in."""
    for root in (folder, *folder.parents, _OWN):
        if (root / "tasks.py").is_file() and (root / _PACKAGE).is_dir():
            return root
    print(
        f"llamatrix: {folder}: no checkout of llamatrix here or above; run it in one",
        file=sys.stderr,
    )
    sys.exit(STOP_GIT_BISECT if GIT_BISECT in sys.argv else 2)


class Llamatrix(Program):
    """Invoke's program: commands in groups, nearest names, completion of values."""

    def __init__(self, namespace: Collection, root: Path) -> None:
        super().__init__(version=__version__, namespace=namespace, name="llamatrix")
        self.root = root

    def core_args(self) -> list[Argument]:
        """Invoke's own flags; a letter of theirs is never taken for one of ours."""
        arguments: list[Argument] = super().core_args()
        for argument in arguments:
            if argument.name not in ("help", "list", "version"):
                argument.names = (str(argument.name),)
        return arguments

    def print_help(self) -> None:
        print("Usage: llamatrix COMMAND [FLAGS]\n")
        self.list_flat()
        print(
            "`llamatrix COMMAND --help` explains the flags of one. Completion in bash:\n"
            "  source <(llamatrix --print-completion-script bash)"
        )

    def list_flat(self) -> None:
        width = max(map(len, self.collection.task_names))
        for heading, commands in GROUPS.items():
            print(f"{heading}:\n")
            self.print_columns(
                [
                    (f"{command.name:<{width}}", command.about.partition("\n")[0])
                    for command in commands
                ]
            )

    def parse_tasks(self) -> None:
        """Parse the command; Exit with the nearest name of what is unknown."""
        try:
            super().parse_tasks()
        except ParseError as error:
            if self.args.complete.value:
                raise
            unknown = re.search(r"^No idea what '(.+)' is!$", str(error))
            if not unknown:
                raise Exit(f"llamatrix: {error}", 2) from error
            word, context = unknown[1], error.context
            known = list(self.collection.task_names)
            if context and context.name:
                known = list(context.flag_names())
            kind = "flag" if word.startswith("-") else "command"
            where = f"{context.name}: " if context and context.name else ""
            hint = nearest(word, known)
            raise Exit(f"llamatrix: {where}unknown {kind} {word!r}{hint}", 2) from error

    def parse_cleanup(self) -> None:
        """Print the values that fit where the cursor is; else what Invoke completes."""
        if self.args.complete.value:
            words = [one for one in shlex.split(self.core.remainder) if one != "="]
            contexts = self._make_parser().contexts
            command = next((word for word in words if word in contexts), None)
            for word in reversed(words[-2:]) if command else ():
                flags = contexts[command].flags  # whose `get` knows no aliases
                if word in flags and flags[word].takes_value:
                    print(*self._values(flags[word].name, words), sep="\n")
                    raise Exit
        super().parse_cleanup()

    def _values(self, flag: str, words: Sequence[str]) -> list[str]:
        """What a flag can be; nothing where the matrix cannot be read."""
        try:
            with redirect_stderr(io.StringIO()):
                return sorted(_values_of(flag, words, self.root))
        except BenchError:
            return []


def _values_of(flag: str, words: Sequence[str], root: Path) -> tuple[str, ...]:
    matrix = load_matrix(root / "matrix.toml")
    if flag == "cells":
        named = {"--profile", f"-{SHORT['profile']}"}
        profile = next((b for a, b in pairwise(words) if a in named), "")
        profile = choose_profile(profile).profile
        plan = expand_plan(matrix, load_lock(root / "matrix.lock"), profile)
        return (
            *(cell.id for cell in plan.speed),
            *(cell.id for cell in plan.agents),
            *(cell.id for cell in plan.endpoints),
        )
    sets = (path.stem for path in (root / "reports" / "published").glob("*.toml"))
    return {
        "profile": tuple(matrix.profiles),
        "model": tuple(matrix.models),
        **dict.fromkeys(("pin", "baseline", "candidate"), tuple(matrix.pins)),
        **dict.fromkeys(("against", "set"), tuple(sets)),
    }.get(flag, ())


if __name__ == "__main__":
    main()
