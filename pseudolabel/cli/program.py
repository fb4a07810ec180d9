"""The command line: one command for each task, the commands for finished datasets, and the exit codes.

A command imports what it needs when it runs. Help and usage errors import neither engine nor inspection.
"""

from __future__ import annotations

import os
import sys
import traceback
import webbrowser
from collections.abc import Callable
from dataclasses import asdict
from errno import EDQUOT, EFBIG, ENOSPC
from functools import partial
from inspect import cleandoc
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import completion

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
    verify_dataset,
)
from pseudolabel.cli.help import PANELS, examples, modality_panel, usage_error
from pseudolabel.cli.signals import fail
from pseudolabel.cli.summary import dry_run_lines, print_lines, run_lines
from pseudolabel.contracts import KEEP_HELP, RunOptions, UserError, escape_controls, first_paragraph, split_remedy
from pseudolabel.tasks import PLUGIN_FAULTS, TASKS, Task
from pseudolabel.tasks.base.task import row_columns

SOURCES_HELP = "Folders, files, archives, tables or URLs; @FILE or - reads a list of them."
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE", help=SOURCES_HELP, show_default=False)]
SourceOrText = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A folder, a file, or a sentence.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Seed of the random number generator.")]
Keep = Annotated[str | None, typer.Option(metavar="COLUMNS", help=KEEP_HELP)]
STORAGE_REMEDIES = {
    **dict.fromkeys((ENOSPC, EDQUOT, None), "free some space"),
    EFBIG: "raise the limit on the size of a file (ulimit -f)",
}
DRY_RUN_HELP = "Estimate the rows and the time from a few samples; write nothing."
DryRun = Annotated[bool, typer.Option("--dry-run", help=DRY_RUN_HELP, rich_help_panel="Running")]
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
            facts = dry_run(made, source, **given)
            print_lines(dry_run_lines(facts), facts, json_)
        else:
            done = run(made, source, progress=Progress(quiet), **given)
            print_lines(run_lines(done, source), asdict(done), json_)

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
            if open_ and line.startswith("\npage: "):
                webbrowser.open(Path(line.partition(": ")[2]).as_uri())

    text = f"Show three rows of {task.name}. {first_paragraph(task.__doc__)}"
    return with_options(show_task, own_options(task), text)


def plan_command(task: type[Task]) -> Callable[..., None]:
    """Return a command whose options are those of a run, except `--part`."""

    def plan_task(source: Sources, *, json_: Json = False, quiet: Quiet = False, **given: Any) -> None:
        from pseudolabel.engine.parts import plan_parts
        from pseudolabel.engine.progress import Progress

        made = task_from_options(task, given)
        done = plan_parts(made, source, progress=Progress(quiet), **given)
        print_lines(run_lines(done, source), asdict(done), json_)

    shared = [option for option in options_of(RunOptions) if option.name != "part"]
    text = f"Plan {task.name}. {first_paragraph(task.__doc__)}"
    return with_options(plan_task, [*own_options(task), *shared], text)


FINISH_HELP = """Finish a planned dataset after all of its parts.

Write its manifest and its card. If a shard is missing, end with exit code 3 and name the parts to run."""


def finish_command() -> Callable[..., None]:
    """Return the command that finishes a planned dataset."""

    def finish_dataset(dataset: PlannedFolder, *, json_: Json = False, **given: Any) -> None:
        from pseudolabel.engine.parts import finish
        from pseudolabel.engine.progress import Progress

        done = finish(dataset, progress=Progress(), **given)
        print_lines(run_lines(done), asdict(done), json_)

    limit_options = [option for option in options_of(RunOptions) if option.name == "max_skipped"]
    return with_options(finish_dataset, limit_options, FINISH_HELP)


def task_commands(make: Callable[[type[Task]], Callable[..., None]], with_examples: bool = False) -> Commands:
    """Return a command for each task, sorted by the panels of the help."""
    made = {}
    for name, task in TASKS.items():
        some = partial(examples, task) if with_examples else tuple
        made[name] = LazyCommand(partial(make, task), task.__doc__ or "", modality_panel(task), some)
    return dict(sorted(made.items(), key=lambda one: PANELS.index(one[1].panel)))


def plain_command(function: Callable[..., None]) -> LazyCommand:
    """Return the command of a function whose docstring is its help."""
    return LazyCommand(lambda: function, cleandoc(function.__doc__ or ""), "Datasets")


def print_version(asked: bool) -> None:
    """Print the version and end, if it is asked for."""
    if asked:
        from importlib.metadata import version

        typer.echo(f"pseudolabel {version('pseudolabel')}")
        raise typer.Exit


def install_completion(asked: bool) -> None:
    """Install the completion of the shell and end, if it is asked for."""
    if asked:
        completion.completion_init()  # type: ignore[attr-defined]
        shell, path = completion.install(prog_name="pseudolabel")  # type: ignore[attr-defined]
        typer.echo(f"{shell} completion is in {path}; open a new terminal")
        raise typer.Exit


def top_options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
    ] = False,
    completion: Annotated[
        bool,
        typer.Option(
            "--install-completion", callback=install_completion, is_eager=True, help="Complete names in this shell."
        ),
    ] = False,
) -> None:
    """Take the options before any command."""


SHOW_HELP = """Show three rows of a task, and store nothing.

The rows are made from SOURCE or from a sentence, and their labels are explained."""
PLAN_HELP = """Plan a dataset that several machines make in parts.

List SOURCE, and fit if the task learns from it. Then run the task with --part I/N on any machine, and finish."""
app = lazy_group(
    {
        "show": LazyCommand(partial(lazy_group, task_commands(show_command), help=SHOW_HELP), SHOW_HELP, "First look"),
        "tasks": plain_command(list_tasks)._replace(panel="First look"),
        **task_commands(run_command, with_examples=True),
        "verify": plain_command(verify_dataset),
        "preview": plain_command(preview_dataset),
        "describe": plain_command(describe_dataset),
        "audit": plain_command(audit_rows),
        "export": plain_command(export_dataset),
        "plan": LazyCommand(partial(lazy_group, task_commands(plan_command), help=PLAN_HELP), PLAN_HELP, "Datasets"),
        "finish": LazyCommand(finish_command, FINISH_HELP, "Datasets"),
    },
    top_options,
    name="pseudolabel",
    help="Turn raw text, images, video or sound into a dataset of (input, pseudo-label) rows in Parquet.",
    epilog="Run the same command again to resume an interrupted run. Exit codes: 0 success, 1 internal error or dying "
    "workers, 2 wrong usage, 3 too many samples skipped, no rows, faults found by verify, or leaks found by audit "
    "--strict, 4 the output folder is in use or holds another dataset, 5 nothing to read, 74 storage failed, 130 and "
    "143 interrupted.",
)


def execute() -> int:
    """Run the command line and return its exit code. Each error has a message of at most three lines."""
    for fault in PLUGIN_FAULTS:
        print(f"pseudolabel: {fault}", file=sys.stderr)
    try:
        if "_PSEUDOLABEL_COMPLETE" in os.environ:  # a shell asks to complete a line
            completion.completion_init()  # type: ignore[attr-defined]
        command = typer.main.get_command(app)  # `app()` would set an excepthook of its own
        return command(prog_name="pseudolabel", standalone_mode=False) or 0
    except typer.TyperException as wrong:  # a usage error of Typer's own: unknown option, value out of range
        refused = usage_error(wrong)
    except UserError as error:
        refused = error
    except OSError as error:
        where = f"{str(error.filename).partition('/_work')[0]}: " if error.filename else ""  # the dataset's folder
        remedy = STORAGE_REMEDIES.get(error.errno, "mend it")
        refused = UserError(
            f"storage failed: {where}{error.strerror or error}; {remedy}, and run the same command again to resume", 74
        )
    except Exception as bug:
        traceback.print_exc()
        refused = UserError(f"internal error: {type(bug).__name__}: {bug}; please report it with the traceback", 1)
    what, remedy = map(escape_controls, split_remedy(str(refused)))
    return fail(what, remedy, refused.code)
