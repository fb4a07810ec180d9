"""Groups of commands that are built when they are called: to build all of them takes longer than to print the help."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import typer
import typer.core
import typer.main


class LazyCommand(NamedTuple):
    """A command that is not built yet."""

    make: Callable[[], Callable[..., None] | typer.Typer]  # returns its function, or a group
    help: str


Commands = Mapping[str, LazyCommand]


def lazy_group(commands: Commands, **settings: Any) -> typer.Typer:
    """Return a group of commands. `settings` are those of `typer.Typer`."""

    class Group(typer.core.TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*commands]

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return _built(cmd_name, commands[cmd_name].make()) if cmd_name in commands else None

        def format_commands(self, ctx: Any, formatter: Any) -> None:
            width = formatter.width - 6 - max(map(len, commands))
            stubs = {name: typer.core.TyperCommand(name, help=one.help) for name, one in commands.items()}
            with formatter.section("Commands"):
                formatter.write_dl([(name, stub.get_short_help_str(width)) for name, stub in stubs.items()])

    group = typer.Typer(
        cls=Group, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )
    group.callback()(lambda: None)
    return group


def _built(name: str, command: Callable[..., None] | typer.Typer) -> Any:
    if isinstance(command, typer.Typer):
        return typer.main.get_group(command)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name)(command)
    return typer.main.get_command(alone)
