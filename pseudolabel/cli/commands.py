"""Typer commands, made from dataclasses: each field is an option.

A command is built when it is called. To build all of them takes longer than to print the help.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import fields
from inspect import Parameter, Signature, get_annotations, signature
from typing import Annotated, Any, ClassVar, NamedTuple, get_args, get_type_hints

import typer
import typer.main

from pseudolabel.cli.help import Command, Group
from pseudolabel.tasks.base.modalities import MODALITIES
from pseudolabel.tasks.base.task import Task

READING = "Reading the source"  # panel of the options of readers


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
    """Return the options of a task: its own first, those of its reader last, each in its panel of the help."""
    declared, readers = [get_annotations(base) for base in task.__mro__], [kind.options for kind in MODALITIES.values()]

    def place(name: str) -> int:
        return next(i for i, own in enumerate(declared) if name in own)

    def panel(name: str) -> str:
        return READING if task.__mro__[place(name)] in readers else f"Options of {task.name}"

    return sorted(options_of(task, panel), key=lambda option: place(option.name))


def options_of(dataclass: type, panel: Callable[[str], str] = lambda name: "") -> list[Parameter]:
    """Return one option for each field of a dataclass, in the panel of the help that `panel` gives by its name."""
    hints = get_type_hints(dataclass, include_extras=True)  # resolves names in the module of the declaring class
    return [
        Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=_annotation(hints[field.name], dataclass, panel(field.name)),
        )
        for field in fields(dataclass)
    ]


def _annotation(hint: Any, dataclass: type, panel: str) -> Any:
    """Return the annotation of an option. Replace `{0.NAME}` in its help with the default of the option NAME."""
    kind, option = get_args(hint)
    filled = copy(option)
    if "{" in option.help:
        filled.help = option.help.format(dataclass())
    filled.rich_help_panel = panel or option.rich_help_panel
    return Annotated[kind, filled]


class LazyCommand(NamedTuple):
    """A command that is not built yet: `make` returns its function, or a group."""

    make: Callable[[], Callable[..., None] | typer.Typer]
    help: str
    panel: str  # of the help of its group
    examples: Callable[[], Sequence[str]] = tuple  # returns command lines for the end of its help


Commands = Mapping[str, LazyCommand]


def lazy_group(commands: Commands, callback: Callable[..., None] = lambda: None, **settings: Any) -> typer.Typer:
    """Return a group of commands. `callback` has the options of the group; `settings` are those of `typer.Typer`."""

    class Lazy(Group):
        lines: ClassVar = {name: (one.panel, one.help) for name, one in commands.items()}

        def get_command(self, ctx: Any, cmd_name: str) -> Any:
            return _build(cmd_name, commands[cmd_name]) if cmd_name in commands else None

    group = typer.Typer(
        cls=Lazy, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, **settings
    )
    group.callback()(callback)
    return group


def _build(name: str, lazy: LazyCommand) -> Any:
    made = lazy.make()
    if isinstance(made, typer.Typer):
        return typer.main.get_group(made)
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    alone.command(name, cls=Command)(made)
    command = typer.main.get_command(alone)
    command.examples = lazy.examples()  # type: ignore[attr-defined]
    return command
