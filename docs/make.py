"""Write the pages that follow from the code: `python docs/make.py`.

These are docs/tasks/ (a page for each task, and the table of all), docs/reference/options.md and python.md beside it,
and the tasks in the menu of the site, mkdocs.yml.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from enum import EnumType
from inspect import cleandoc
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.main import get_command

import pseudolabel
from pseudolabel import RunOptions
from pseudolabel.cli.program import app
from pseudolabel.contracts import first_paragraph
from pseudolabel.tasks import Task
from pseudolabel.tasks.base.modalities import MODALITIES, modalities_of
from pseudolabel.tasks.base.task import row_columns

HERE = Path(__file__).parent
TASKS = {name: task for name, task in pseudolabel.TASKS.items() if task.__module__.startswith("pseudolabel.")}
COMMANDS = """```sh
pseudolabel show {name} {source}    # three rows, nothing stored
pseudolabel {name} {source} --out {out}
pseudolabel verify {out} --against {source}
pseudolabel preview {out}
```"""
PYTHON = """# Python API

A run is a function. Each task is a class, and its options are the arguments: `Jigsaw(grid=2)`
is `pseudolabel jigsaw --grid 2`. The options of a run, [such as `out` and `seed`](options.md), are keyword arguments of
`run`.

```python
from pseudolabel import Jigsaw, rows, run

run(Jigsaw(grid=3), "images/", out="tiles/", seed=0)

for row in rows(Jigsaw(grid=3), "images/", seed=0, copy=0, part=(0, 1)):
    ...  # the same rows as a stream, without files
```

A run starts worker processes. They import your script only if it defines the task. Such a script must call `run` below
`if __name__ == "__main__":`.

On Linux, workers are forks of the fork server of `multiprocessing`, and a process has only one fork server. If your own
code uses it later, its processes have one thread per library, and OpenCV is already imported.
"""


def pages() -> dict[Path, str]:
    """Return every page that follows from the code, by its path under docs/."""
    made = {Path("tasks", f"{name}.md"): task_page(task) for name, task in TASKS.items()}
    return made | {
        Path("tasks", "index.md"): index_page(),
        Path("reference", "options.md"): options_page(),
        Path("reference", "python.md"): python_page(),
        Path("..", "mkdocs.yml"): site_menu(),
    }


def site_menu() -> str:
    """Return the configuration of the site, with all tasks in its menu."""
    entries = "".join(f"      - tasks/{name}.md\n" for name in ("index", *TASKS))
    text = (HERE.parent / "mkdocs.yml").read_text("utf-8")
    return re.sub(r"(  - Tasks:\n)(?:      - .*\n)*", lambda found: found[1] + entries, text)


# --- tasks -----------------------------------------------------------------------------------------------------------


def task_page(task: type[Task]) -> str:
    """Return a task's page. Columns are those of the default options."""
    unsafe = (
        f"Later augmentations that make the label false: {', '.join(task.description.invalidating_augmentations)}."
        if task.description.invalidating_augmentations
        else ""
    )
    columns = [f"| `{c.name}` | `{c.type}` | {c.role} | {c.meaning} |" for c in row_columns(task())]
    source = MODALITIES[modalities_of(task)[0]].example
    picture = f"![A row of {task.name}]({task.name}.jpg)"
    own = {field.name for field in fields(task)}
    parts = [
        f"# {task.name}",
        cleandoc(task.__doc__ or ""),
        picture if (HERE / "tasks" / f"{task.name}.jpg").exists() else "",
        f"Method: {task.description.paper}",
        unsafe,
        COMMANDS.format(name=task.name, source=source, out=f"{source.rstrip('/')}-{task.name}"),
        "## Columns",
        "\n".join(["| column | type | role | meaning |", "| --- | --- | --- | --- |", *columns]),
        "## Options",
        option_table(task, [option for option in command_options(task) if option.name in own]),
        "All tasks also take [the options of a run](../reference/options.md).",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def index_page() -> str:
    """Return the table of all tasks, by modality. The order is that of the code."""
    parts = [
        "# Tasks",
        "Each task is a command. `pseudolabel tasks` prints this list. `pseudolabel jigsaw --help` prints the options "
        "of a task. [Which task to try first](../teach.md).",
    ]
    for modality in MODALITIES:
        lines = []
        for name, task in TASKS.items():
            if modalities_of(task)[0] != modality:
                continue
            inputs, labels = (
                ", ".join(f"`{column.name}`" for column in task().columns() if column.role == role)
                for role in ("input", "label")
            )
            presets = choices(task, "preset")
            method = task.description.paper + (f". Presets: {', '.join(presets)}" if presets else "")
            what = first_paragraph(task.__doc__)
            lines.append(f"| [`{name}`]({name}.md) | {what} | {inputs} | {labels} | {method} |")
        head = ["| task | what it does | input | label | method |", "| --- | --- | --- | --- | --- |"]
        parts += [f"## {modality.capitalize()}", "\n".join([*head, *lines])]
    parts.append("`cluster` also takes speech, video and text.")
    return "\n\n".join(parts) + "\n"


# --- options ---------------------------------------------------------------------------------------------------------


def options_page() -> str:
    """Return the page of the options that all tasks have."""
    some = next(iter(TASKS.values()))
    own = {field.name for field in fields(some)}
    shared = [option for option in command_options(some) if option.name not in own]
    names = {field.name for field in fields(RunOptions)}
    others = ", ".join(f"`{option.opts[0]}`" for option in shared if option.name.rstrip("_") not in names)
    return (
        "# Options of a run\n\nEvery task takes these options. The options of a task are on "
        "[its own page](../tasks/index.md). "
        "In Python, write `validation=0.01` for `--validation 0.01`. "
        f"Only commands have {others}.\n\n{option_table(RunOptions, shared)}\n"
    )


def command_options(task: type[Task]) -> list[Any]:
    """Return the options of a task's command."""
    command = get_command(app).get_command(None, task.name)  # type: ignore[attr-defined]
    return [option for option in command.params if option.param_type_name == "option"]


def choices(owner: type, name: str) -> list[str]:
    """Return the values that a field may have, if it has a few."""
    hint = get_type_hints(owner).get(name)
    return [str(one) for kind in (hint, *get_args(hint)) if isinstance(kind, EnumType) for one in kind]


def option_table(owner: type, options: list[Any]) -> str:
    """Return options as `--help` has them."""
    lines = ["| option | default | |", "| --- | --- | --- |"]
    for option in options:
        names = ", ".join(f"`{name}`" for name in (*option.opts, *option.secondary_opts))
        allowed = choices(owner, option.name)
        told = f" One of {', '.join(allowed)}." if allowed else ""
        default = f"`{option.default}`" if option.default not in (None, "") and option.default is not False else ""
        lines.append(f"| {names} | {default} | {option.help.replace('|', '/')}{told} |")
    return "\n".join(lines)


# --- Python ----------------------------------------------------------------------------------------------------------


def python_page() -> str:
    """Return the page of the names that `import pseudolabel` gives."""
    parts = [PYTHON.strip()]
    for name in pseudolabel.__all__:
        thing = getattr(pseudolabel, name)
        if name not in TASKS and callable(thing) and not (inspect.isclass(thing) and thing.__name__ in task_classes()):
            parts += [f"## {name}", *entry(name, thing)]
    lines = [f"- [`{task.__name__}`](../tasks/{name}.md)" for name, task in TASKS.items()]
    return "\n\n".join(filter(None, [*parts, "## Tasks", "\n".join(lines)])) + "\n"


def task_classes() -> set[str]:
    return {task.__name__ for task in TASKS.values()}


def entry(name: str, thing: Any) -> Iterator[str]:
    """Yield the signature, the docstring, and the fields or methods of a public name."""
    if thing is RunOptions:
        yield f"{cleandoc(thing.__doc__)} They are [listed here](options.md)."
    elif is_dataclass(thing) and fields(thing):
        yield cleandoc(thing.__doc__ or "")
        yield "\n".join(f"- `{field.name}`: `{field.type}`" for field in fields(thing))
    elif inspect.isclass(thing) and issubclass(thing, Task):
        yield f'{cleandoc(thing.__doc__)} How to write one: CONTRIBUTING.md, "Add a task".'
    else:
        yield f"```text\n{name}{signature(thing)}\n```"
        yield cleandoc(thing.__doc__ or "")
        if inspect.isclass(thing):
            methods = [(key, value) for key, value in vars(thing).items() if key[0] != "_" and callable(value)]
            lines = [f"- `{key}{signature(value)}`: {first_paragraph(value.__doc__)}" for key, value in methods]
            yield "\n".join(lines) if not issubclass(thing, BaseException) else ""


def signature(thing: Any) -> str:
    """Return a signature, with annotations as they are written."""
    written = str(inspect.signature(thing)).replace("(self, ", "(").replace("(self)", "()")
    return re.sub(r"(: |-> )'([^']*)'", r"\1\2", written)


def write() -> None:
    """Write all pages."""
    for path, text in pages().items():
        (HERE / path).parent.mkdir(parents=True, exist_ok=True)
        (HERE / path).write_text(text, "utf-8")


if __name__ == "__main__":
    write()
