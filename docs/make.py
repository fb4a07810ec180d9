"""Write a page for each task, docs/TASK.md, of its docstring, its columns and its `--help`: `python docs/make.py`."""

from __future__ import annotations

from dataclasses import fields
from enum import EnumType
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.main import get_command

from pseudolabel import TASKS
from pseudolabel.cli.program import app
from pseudolabel.tasks import Task
from pseudolabel.tasks.base.task import row_columns

HERE = Path(__file__).parent
COMMANDS = """```sh
pseudolabel show {name} SOURCE    # three rows, nothing stored
pseudolabel {name} SOURCE --out DIR
pseudolabel verify DIR --against SOURCE
pseudolabel preview DIR --open
```"""


def page(task: type[Task]) -> str:
    """A task's page. Columns are those of the default options."""
    unsafe = (
        f"Later augmentations that make the label false: {', '.join(task.description.invalidating_augmentations)}."
        if task.description.invalidating_augmentations
        else ""
    )
    columns = [f"| `{c.name}` | `{c.type}` | {c.role} | {c.meaning} |" for c in row_columns(task())]
    own = {field.name for field in fields(task)}
    options = [o for o in get_command(app).get_command(None, task.name).params if o.param_type_name == "option"]  # type: ignore[attr-defined]
    parts = [
        f"# {task.name}",
        cleandoc(task.__doc__ or ""),
        f"Method: {task.description.paper}",
        unsafe,
        COMMANDS.format(name=task.name),
        "\n".join(["| column | type | role | meaning |", "| --- | --- | --- | --- |", *columns]),
        "## Options",
        table(task, [option for option in options if option.name in own]),
        "Of every task:",
        table(task, [option for option in options if option.name not in own]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(task: type[Task], options: list[Any]) -> str:
    """Options as `--help` has them."""
    lines, hints = ["| option | default | |", "| --- | --- | --- |"], get_type_hints(task)
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        kinds = [
            kind for kind in (hints.get(option.name), *get_args(hints.get(option.name))) if isinstance(kind, EnumType)
        ]
        choices = f" One of {', '.join(kinds[0])}." if kinds else ""
        default = f"`{option.default}`" if option.default not in (None, "") and option.default is not False else ""
        lines.append(f"| {names} | {default} | {option.help.replace('|', '/')}{choices} |")
    return "\n".join(lines)


if __name__ == "__main__":
    for name, task in TASKS.items():
        (HERE / f"{name}.md").write_text(page(task), "utf-8")
