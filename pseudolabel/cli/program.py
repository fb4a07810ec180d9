"""The command line: one command for each task, the commands for finished datasets, and the exit codes.

A command imports what it needs when it runs. Help and usage errors import neither engine nor inspection.
"""

from __future__ import annotations

import sys
import webbrowser
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer

from pseudolabel.cli.commands import (
    Commands,
    LazyCommand,
    lazy_group,
    options_of,
    own_options,
    task_from_options,
    with_options,
)
from pseudolabel.cli.datasets import (
    Json,
    Open,
    Quiet,
    audit_rows,
    describe_dataset,
    export_dataset,
    preview_dataset,
    print_summary,
    verify_dataset,
)
from pseudolabel.cli.signals import fail
from pseudolabel.contracts import KEEP_HELP, RunOptions, UserError, first_paragraph
from pseudolabel.tasks import PLUGIN_FAULTS, TASKS, Task
from pseudolabel.tasks.base.task import row_columns

SOURCES_HELP = "Folders, files, archives, tables or URLs; @FILE or - reads a list of them."
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE", help=SOURCES_HELP, show_default=False)]
SourceOrText = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A folder, a file, or a sentence.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Seed of the random number generator.")]
Keep = Annotated[str | None, typer.Option(metavar="COLUMNS", help=KEEP_HELP)]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Estimate the rows and the time from a few samples; write nothing.")
]
PlannedFolder = Annotated[str, typer.Argument(metavar="DIR", help="A planned dataset.", show_default=False)]


def run_command(task: type[Task]) -> Callable[..., None]:
    """Return a command whose options are the fields of `task`, then those of `RunOptions`."""

    def run_task(
        source: Sources, *, dry_run_: DryRun = False, json_: Json = False, quiet: Quiet = False, **given: Any
    ) -> None:
        from pseudolabel.engine.progress import Progress
        from pseudolabel.engine.run import run
        from pseudolabel.engine.stream import dry_run

        made = task_from_options(task, given)
        if dry_run_:
            print_summary(dry_run(made, source, **given), json_)
        else:
            print_summary(asdict(run(made, source, progress=Progress(quiet), **given)), json_)

    return with_options(run_task, [*own_options(task), *options_of(RunOptions)], cleandoc(task.__doc__ or ""))


def list_tasks() -> None:
    """List the tasks with their inputs, labels and papers."""
    for name, task in TASKS.items():
        columns = row_columns(task())
        inputs = ", ".join(column.name for column in columns if column.role == "input")
        labels = ", ".join(column.name for column in columns if column.role == "label")
        typer.echo(f"{name}: {inputs} -> {labels}\n    {task.description.paper}")


def show_command(task: type[Task]) -> Callable[..., None]:
    """Return a command whose options are the fields of `task`."""

    def show_task(
        source: SourceOrText, *, keep: Keep = None, seed: Seed = 0, open_: Open = False, **given: Any
    ) -> None:
        from pseudolabel.inspection.show import show

        for line in show(task(**given), source, seed, keep, sys.stdout.isatty()):
            typer.echo(line)
            if open_ and line.startswith("\npictures: "):
                webbrowser.open(Path(line.partition(": ")[2]).as_uri())

    text = f"Show three rows of {task.name}. {first_paragraph(task.__doc__)}"
    return with_options(show_task, own_options(task), text)


def plan_command(task: type[Task]) -> Callable[..., None]:
    """Return a command whose options are those of a run, except `--part`."""

    def plan_task(source: Sources, *, json_: Json = False, quiet: Quiet = False, **given: Any) -> None:
        from pseudolabel.engine.parts import plan_parts
        from pseudolabel.engine.progress import Progress

        made = task_from_options(task, given)
        print_summary(asdict(plan_parts(made, source, progress=Progress(quiet), **given)), json_)

    shared = [option for option in options_of(RunOptions) if option.name != "part"]
    text = f"Plan {task.name}. {first_paragraph(task.__doc__)}"
    return with_options(plan_task, [*own_options(task), *shared], text)


FINISH_HELP = "Finish a planned dataset: write its manifest, or end with exit code 3 if a shard is missing."


def finish_command() -> Callable[..., None]:
    """Return the command that finishes a planned dataset."""

    def finish_dataset(dataset: PlannedFolder, *, json_: Json = False, **given: Any) -> None:
        from pseudolabel.engine.parts import finish
        from pseudolabel.engine.progress import Progress

        print_summary(asdict(finish(dataset, progress=Progress(), **given)), json_)

    limit_options = [option for option in options_of(RunOptions) if option.name == "max_skipped"]
    return with_options(finish_dataset, limit_options, FINISH_HELP)


def task_commands(make: Callable[[type[Task]], Callable[..., None]], summary: str) -> Commands:
    """Return a command for each task. `summary` is its line in the help: {0} is the name, {1} what the task does."""
    return {
        name: LazyCommand(partial(make, task), summary.format(name, first_paragraph(task.__doc__)))
        for name, task in TASKS.items()
    }


def ready(function: Callable[..., None]) -> LazyCommand:
    """Return a command that is a plain function; its docstring is its help."""
    return LazyCommand(lambda: function, cleandoc(function.__doc__ or ""))


SHOW_HELP = "Show three rows made from SOURCE or from a sentence, and explain their labels. Nothing is stored."
PLAN_HELP = (
    "List SOURCE and fit, if the task needs a fit. Next, run the task with --part I/N on any machine, then finish."
)
SHOW_COMMANDS = task_commands(show_command, "Show three rows of {}. {}")
PLAN_COMMANDS = task_commands(plan_command, "Plan {}. {}")
app = lazy_group(
    {
        **task_commands(run_command, "{1}"),
        "tasks": ready(list_tasks),
        "export": ready(export_dataset),
        "verify": ready(verify_dataset),
        "preview": ready(preview_dataset),
        "describe": ready(describe_dataset),
        "audit": ready(audit_rows),
        "finish": LazyCommand(finish_command, FINISH_HELP),
        "show": LazyCommand(partial(lazy_group, SHOW_COMMANDS, help=SHOW_HELP), SHOW_HELP),
        "plan": LazyCommand(partial(lazy_group, PLAN_COMMANDS, help=PLAN_HELP), PLAN_HELP),
    },
    name="pseudolabel",
    help="Turn raw text, images, video or sound into a dataset of (input, pseudo-label) rows in Parquet.",
    epilog="Run the same command again to resume an interrupted run. Exit codes: 0 success, 1 internal error or dying "
    "workers, 2 wrong usage, 3 too many samples skipped, no rows, faults found by verify, or leaks found by audit "
    "--strict, 4 the output folder is in use or holds another dataset, 5 nothing to read, 74 storage failed, 130 and "
    "143 interrupted.",
)


def execute() -> int:
    """Run the command line and return its exit code. Each error has a message of one or two lines."""
    for fault in PLUGIN_FAULTS:
        print(f"pseudolabel: {fault}", file=sys.stderr)
    try:
        command = typer.main.get_command(app)  # `app()` would set an excepthook of its own
        return command(prog_name="pseudolabel", standalone_mode=False) or 0
    except typer.TyperException as wrong:  # a usage error of Typer's own: unknown option, value out of range
        path = getattr(getattr(wrong, "ctx", None), "command_path", "pseudolabel")
        return fail(f"{wrong.format_message()}\nsee {path} --help", wrong.exit_code)
    except UserError as refused:
        return fail(str(refused), refused.code)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return fail(f"storage failed: {where}{error.strerror or error}; run the same command again to resume", 74)
