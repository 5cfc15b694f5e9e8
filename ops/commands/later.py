"""Groups of commands that are loaded when one of them is asked for: each needs much that others do not."""

from functools import cache
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup


def later(module: str, meaning: str) -> typer.Typer:
    """Make a group whose commands are those of ``app`` in a module.

    Parameters:
      module: Its full name.
      meaning: What the group is for, in the list of all commands.
    """

    @cache
    def commands() -> TyperGroup:
        return typer.main.get_group(import_module(module).app)

    class Group(TyperGroup):
        def make_context(self, *args: Any, **kwargs: Any) -> Any:
            self.commands.update(commands().commands)
            return super().make_context(*args, **kwargs)

    return typer.Typer(cls=Group, help=meaning, no_args_is_help=True)
