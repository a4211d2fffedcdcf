"""The list of commands: each names functions that exist."""

from dataclasses import fields
from importlib import import_module

import pytest

from llamatrix.commands.registry import COMMANDS, Command


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda one: one.name)
def test_functions_of_a_command_exist(command: Command) -> None:
    for package, path in (
        ("commands", command.runs),
        ("cluster", command.on_cluster),
    ):
        module, _, name = path.partition(":")
        assert not path or callable(
            getattr(import_module(f"llamatrix.{package}.{module}"), name)
        )


def test_cluster_flag_is_honoured_by_every_command_that_has_it() -> None:
    for command in COMMANDS.values():
        flags = {item.name for item in fields(command.takes)}
        assert ("cluster" in flags) == bool(command.on_cluster)
