"""The commands as Invoke's tasks; `llamatrix/commands/registry.py` lists them."""

import inspect
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent / "scripts"))

from invoke import Collection, Context, Exit, ParseError, Parser, Program, Task

from llamatrix import scratch, terminal
from llamatrix.commands import flags
from llamatrix.commands.registry import COMMANDS, Command
from llamatrix.errors import BenchError


class CommandTask(Task):  # type: ignore[type-arg]
    """A task whose short flags are chosen by hand."""

    def arg_opts(
        self, name: str, default: str, taken_names: set[str]
    ) -> dict[str, Any]:
        options: dict[str, Any] = super().arg_opts(name, default, taken_names)
        options["names"] += flags.SHORT.get(name, "")
        return options


def result_of(command: Command, c: Context, written: dict[str, Any]) -> object:
    """Run a command and print what it returns; Exit with what the user can act on."""
    terminal.prepare()
    scratch.sweep()
    try:
        flags.refuse_ignored(c.config.timeouts.command)
        dry = c.config.run.dry
        taken: Any = flags.read_flags(command.takes, written, dry=dry)
        result = command.function(taken)(taken)
        if isinstance(result, str):
            print(result, end="")
        sys.stdout.flush()
    except BenchError as error:
        raise Exit(f"llamatrix: {error}", error.exit_code) from error
    except OSError as error:
        message, code = terminal.end_of(error)
        raise Exit(message, code) from error
    except KeyboardInterrupt:
        raise Exit(terminal.INTERRUPTED, 130) from None
    return result


def task_of(command: Command) -> CommandTask:
    """Return Invoke's task of a command, with its flags as parameters."""

    def body(c: Context, **written: Any) -> None:  # noqa: ANN401
        try:
            result = result_of(command, c, written)
        except Exit as end:
            if not written.get("git_bisect"):
                raise
            code = max(end.code, flags.STOP_GIT_BISECT)
            raise Exit(end.message, code) from end
        except Exception:
            if not written.get("git_bisect"):
                raise
            traceback.print_exc()
            raise Exit(code=flags.STOP_GIT_BISECT) from None
        if isinstance(result, int) and result:
            raise Exit(code=result)

    body.__doc__ = command.about
    context = inspect.Parameter("c", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    body.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [context, *flags.parameters_of(command.takes)]
    )
    return CommandTask(
        body,
        name=command.name,
        help=flags.help_of(command.takes),
        auto_shortflags=False,
    )


namespace = Collection(*map(task_of, COMMANDS.values()))
bisecting = flags.GIT_BISECT in sys.argv
try:
    terminal.end_with_the_reader_of_help(sys.argv)
    takes = {name: command.takes for name, command in COMMANDS.items()}
    flags.refuse_renamed(sys.argv, takes)
    flags.refuse_automatic_short(sys.argv, takes)
    if bisecting:  # Invoke itself exits with 1, which git takes for a bad commit
        Parser(namespace.to_contexts(), Program().initial_context).parse_argv(
            sys.argv[1:]
        )
except BenchError as error:
    code = flags.STOP_GIT_BISECT if bisecting else error.exit_code
    raise Exit(f"llamatrix: {error}", code) from error
except ParseError as error:
    raise Exit(f"llamatrix: {error}", flags.STOP_GIT_BISECT) from error
