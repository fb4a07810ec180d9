"""The command line: one command for each task, the commands for finished datasets, and the exit codes.

A command imports what it needs when it runs. Help and usage errors import neither engine nor inspection.
"""

from __future__ import annotations

import json
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
from pseudolabel.cli.signals import fail
from pseudolabel.contracts import KEEP_HELP, RunOptions, UserError, escape_controls, first_paragraph, shorten
from pseudolabel.storage.urls import is_url
from pseudolabel.tasks import TASKS, Task
from pseudolabel.tasks.base.task import row_columns

SOURCES_HELP = "Folders, files, archives, tables or URLs; @FILE or - reads a list of them."
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE", help=SOURCES_HELP, show_default=False)]
DatasetFolder = Annotated[str, typer.Argument(metavar="DIR", help="A finished dataset.", show_default=False)]
SourceOrText = Annotated[
    str, typer.Argument(metavar="SOURCE", help="A folder, a file, or a sentence.", show_default=False)
]
Seed = Annotated[int, typer.Option(help="Seed of the random number generator.")]
Keep = Annotated[str | None, typer.Option(metavar="COLUMNS", help=KEEP_HELP)]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Estimate the rows and the time from a few samples; write nothing.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress on standard error.")]
PlannedFolder = Annotated[str, typer.Argument(metavar="DIR", help="A planned dataset.", show_default=False)]
ROWS_HELP = "Number of rows to read, evenly spread; at most 20,000 pictures, sounds and texts are read."
AGAINST_HELP = "Source of the dataset: make each row again and compare. Repeat this option for each folder or file."


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


def export_dataset(
    dataset: DatasetFolder,
    to: Annotated[str, typer.Option(help="The trainer that reads the files: fairseq.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="Folder for the files. [DIR-TRAINER in the current folder]")] = None,
    json_: Json = False,
) -> None:
    """Write the files that a HuBERT trainer reads, from a dataset of mask-audio."""
    from pseudolabel.writers.exports.hubert import export

    print_summary(export(dataset, to, out), json_)


def verify_dataset(
    dataset: DatasetFolder,
    against: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help=AGAINST_HELP)] = None,
    workers: Annotated[int, typer.Option(min=0, help="Number of worker processes; 0: one per usable core.")] = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check a dataset: the checksums of its files, then the label of each row.

    Without --against, a row is "true" if it proves its label, and "consistent" if it has no contradiction but cannot
    prove its label. With --against, each row is made again from the source and compared. The source is read by the same
    decoders as for the run, so an error that the decoder makes both times is not found. Exit code 3 for any fault.
    """
    from pseudolabel.engine.progress import Progress
    from pseudolabel.inspection.verify import verify

    found = verify(dataset, against or (), workers=workers, progress=Progress(quiet, "rows", "false"))
    print_summary(
        {name: value for name, value in asdict(found).items() if json_ or (name != "faults" and value != "")}, json_
    )
    if not json_:
        for fault in found.faults:
            typer.echo(escape_controls(f"{shorten(fault['where'])}: {fault['reason']}"))
    if not found.sound:
        raise typer.Exit(3)


def preview_dataset(
    dataset: DatasetFolder,
    out: Annotated[Path | None, typer.Option(help="File for the page. [DIR/index.html]")] = None,
    open_: Open = False,
) -> None:
    """Write an HTML page with the facts of a dataset and some of its rows. The page needs no network."""
    from pseudolabel.inspection.preview import preview

    if open_ and not out and is_url(dataset):
        raise UserError(f"a browser cannot open a page in {dataset}; add --out page.html")
    where = preview(dataset, out)
    typer.echo(where)
    if open_:
        webbrowser.open(where.absolute().as_uri())


def audit_rows(
    what: Annotated[
        str,
        typer.Argument(
            metavar="WHAT",
            help="A finished dataset, a Parquet file or a folder of them, or package.module:loader.",
            show_default=False,
        ),
    ],
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="COLUMN", help="Input; repeat for each. [a dataset's own]")
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option(metavar="COLUMN", help="Label; repeat for each. [a dataset's own]")
    ] = None,
    rows: Annotated[int, typer.Option(min=100, help=ROWS_HELP)] = 5000,
    strict: Annotated[bool, typer.Option("--strict", help="End with exit code 3 if a label leaks.")] = False,
    json_: Json = False,
) -> None:
    """Guess labels from facts that need no understanding, such as file sizes and border pixels: a good guess is a leak.

    A linear model and a shallow tree guess each label, for sources that they did not see. The report gives each rate
    with a 95 % interval beside chance; a leak is significant after correction for the number of guesses (Holm). It also
    gives how often masks cover each place, measured rates such as the shares of [MASK] and random tokens, and
    duplicates. A dataset keeps the report in `audit.json`. Needs the extra `audit`.
    """
    from pseudolabel.inspection.audit.audit import audit
    from pseudolabel.inspection.audit.report import report_lines, store_report

    found = audit(what, rows, input_ or (), label or ())
    for line in [json.dumps(found.as_dict())] if json_ else report_lines(found):
        typer.echo(escape_controls(line))
    if found.dataset:
        store_report(found.as_dict(), found.dataset)
    if strict and found.leaks:
        raise typer.Exit(3)


def describe_dataset(dataset: DatasetFolder, json_: Json = False) -> None:
    """Describe a dataset: its task, command, rows, label distribution and skipped samples."""
    from pseudolabel.inspection.describe import describe
    from pseudolabel.writers.dataset import open_dataset

    facts = describe(open_dataset(dataset))
    print_summary(facts if json_ else description_table(facts), json_)


def description_table(made: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a dataset as the lines of a table for people."""
    from pseudolabel.inspection.describe import LabelSpread

    lists = ("labels", "left_out", "remarks", "versions")
    table = {name: value for name, value in made.items() if name not in lists}
    table["kept"] = ", ".join(f"{name}: {kind}" for name, kind in made["kept"].items()) or {}
    for spread in made["labels"]:
        counts = ", ".join(f"{name}: {count:,}" for name, count in spread["counts"])
        partly = not counts or spread["rows"] < spread["of"]
        table[spread["column"]] = (counts or spread["told"]) + (f", {LabelSpread(**spread).where}" if partly else "")
    table |= {f"left out, {count:,}": reason for reason, count in made["left_out"].items()}
    return table | {f"remark {number}": remark for number, remark in enumerate(made["remarks"], 1)}


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


def print_summary(facts: dict[str, Any], as_json: bool) -> None:
    """Print the summary: one JSON object, or a table for people."""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    if named := facts.get("ignored_suffixes"):
        facts = {**facts, "ignored": named, "ignored_suffixes": {}}
    facts = {name: value for name, value in facts.items() if value not in ({}, None)}
    wide = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{count:,} {key}" for key, count in value.items())
        typer.echo(f"{name.ljust(wide)}  {f'{value:,}' if isinstance(value, int) else value}")


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
