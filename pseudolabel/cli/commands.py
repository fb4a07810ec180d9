"""Typer commands, made from dataclasses: each field is an option.

A command is built when it is called. To build all of them takes longer than to print the help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import fields
from inspect import Parameter, Signature, get_annotations, signature
from typing import Annotated, Any, NamedTuple, get_args, get_type_hints

import typer
import typer.core
import typer.main

from pseudolabel.tasks.base.task import Task


def task_from_options(task: type[Task], given: dict[str, Any]) -> Task:
    """Remove the options of `task` from `given`; return the task made from them."""
    return task(**{field.name: given.pop(field.name) for field in fields(task)})


def with_options(command: Callable[..., None], options: list[Parameter], text: str) -> Callable[..., None]:
    """Add options to a command, after its first argument; set its help."""
    first, *last = list(signature(command, eval_str=True).parameters.values())[:-1]
    command.__signature__ = Signature([first, *options, *last])  # type: ignore[attr-defined]
    command.__doc__ = text
    return command


def own_options(task: type[Task]) -> list[Parameter]:
    """Return the options of a task: its own first, those of its reader last."""
    declared = [get_annotations(base) for base in task.__mro__]
    return sorted(options_of(task), key=lambda option: next(i for i, own in enumerate(declared) if option.name in own))


def options_of(dataclass: type) -> list[Parameter]:
    """Return one option for each field of a dataclass."""
    hints = get_type_hints(dataclass, include_extras=True)  # resolves names in the module of the declaring class
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_annotation(hints[field.name], dataclass),
        )
        for field in fields(dataclass)
    ]


def _annotation(hint: Any, dataclass: type) -> Any:
    """Return the annotation of an option. Replace `{0.NAME}` in its help with the default of the option NAME."""
    kind, option = get_args(hint)
    if "{" not in option.help:
        return hint
    filled = copy(option)
    filled.help = option.help.format(dataclass())
    return Annotated[kind, filled]


class LazyCommand(NamedTuple):
    """A command that is not built yet: `make` returns its function, or a group."""

    make: Callable[[], Callable[..., None] | typer.Typer]
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
