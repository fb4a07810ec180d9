"""Help: commands and options in panels, one whole line for each command, and examples at the end."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from enum import EnumType
from inspect import get_annotations
from typing import Any, ClassVar, get_args, get_type_hints

import typer
import typer.core

from pseudolabel.contracts import UserError, check_option, did_you_mean, first_paragraph
from pseudolabel.tasks.base.modalities import MODALITIES, Modality, modalities_of
from pseudolabel.tasks.base.task import Task


def first_clause(text: str | None) -> str:
    """Return a docstring up to the first ";" or the first full stop: the line of a command in the help of its group."""
    return re.split(r"[;.](?: |$)", first_paragraph(text))[0]


SEVERAL, NONE = "Tasks for any of these", "Other tasks"
PANELS = [*(f"Tasks for {one}" for one in MODALITIES), SEVERAL, NONE]


def modality_panel(task: type[Task]) -> str:
    """Return the panel of the task's command, by the modality that the task reads."""
    modalities = modalities_of(task)
    if len(modalities) == 1:
        return f"Tasks for {modalities[0]}"
    return SEVERAL if modalities else NONE


def examples(task: type[Task]) -> list[str]:
    """Return two command lines: three rows of the task, and a small dataset with one option of the task's own."""
    modalities = modalities_of(task)
    folder = MODALITIES[modalities[0]].example if modalities else "source/"
    hints, chosen = get_type_hints(task), ""
    for name in (["preset"] if "preset" in hints else []) + list(get_annotations(task)):
        choices: Any = next((kind for kind in (hints[name], *get_args(hints[name])) if isinstance(kind, EnumType)), ())
        other = [choice for choice in choices if choice != getattr(task, name)]
        if other and choices is not Modality:
            chosen = f" --{name.replace('_', '-')} {other[-1]}"
            break
    return [f"pseudolabel show {task.name} {folder}", f"pseudolabel {task.name} {folder}{chosen} --limit 100"]


class Command(typer.core.TyperCommand):
    """A command whose help has its options in panels, then examples."""

    examples: Sequence[str] = ()

    def format_options(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for option in self.get_params(ctx):
            if record := option.get_help_record(ctx):
                argument = option.param_type_name == "argument"
                panel = "Arguments" if argument else getattr(option, "rich_help_panel", None) or "Options"
                names = re.sub(r" <list\[str\]>| range(?=>)", "", record[0])  # the text has the range
                panels.setdefault(panel, []).append((names, record[1]))
        _write_panels(formatter, panels)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.examples:
            with formatter.section("Examples"):
                formatter.write("".join(f"  {line}\n" for line in self.examples))  # not wrapped: to be copied


class Group(typer.core.TyperGroup):
    """A group whose help has its commands in panels."""

    lines: ClassVar[Mapping[str, tuple[str, str]]] = {}  # name of a command -> its panel, its docstring

    def get_help_option(self, ctx: Any) -> Any:
        """Return the option `--help` with the default False: to check None as a bool, Typer imports pydantic, 0.1 s."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def list_commands(self, ctx: Any) -> list[str]:
        return [*self.lines]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.lines and not args[0].startswith("-"):
            hint = did_you_mean(args[0], self.lines)
            raise UserError(f"{ctx.command_path} has no command {args[0]!r}\n{hint}see {ctx.command_path} --help")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        panels: dict[str, list[tuple[str, str]]] = {}
        for name, (panel, text) in self.lines.items():
            panels.setdefault(panel, []).append((name.ljust(max(map(len, self.lines))), first_clause(text)))
        _write_panels(formatter, panels)


def _write_panels(formatter: Any, panels: Mapping[str, Sequence[tuple[str, str]]]) -> None:
    for panel, records in panels.items():
        with formatter.section(panel):
            formatter.write_dl(records)


def usage_error(wrong: Any) -> UserError:
    """Convert an error of Typer, such as an unknown option, to a `UserError`. The remedy of most is to see the help."""
    path = getattr(getattr(wrong, "ctx", None), "command_path", "")
    path = path or " ".join(["pseudolabel", *(word for word in sys.argv[1:2] if word[0] != "-")])
    message, hint = str(wrong.format_message()).rstrip("."), ""
    if hasattr(wrong, "possibilities"):
        message = f"{path} has no option {wrong.option_name}"
        hint = did_you_mean(wrong.option_name, wrong.possibilities or ())
    elif hasattr(wrong.__cause__, "errors"):  # of pydantic: the option is there, its value is wrong
        about, value = wrong.param.type_descriptor, wrong.__cause__.errors()[0]["input"]
        with suppress(TypeError, ValueError):
            value = about.annotation(value)
        try:
            check_option(value, about.annotation, about.parameter_info, wrong.param.opts[0])
        except UserError as refused:
            return refused
    return UserError(f"{message}\n{hint}see {path} --help", wrong.exit_code)
