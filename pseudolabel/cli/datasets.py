"""The commands for finished datasets: export, verify, preview, audit, describe.

A command imports what it needs when it runs.
"""

from __future__ import annotations

import json
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from pseudolabel.contracts import UserError, escape_controls, shorten
from pseudolabel.storage.urls import is_url

DatasetFolder = Annotated[str, typer.Argument(metavar="DIR", help="A finished dataset.", show_default=False)]
Open = Annotated[bool, typer.Option("--open", help="Open the page in the browser.")]
JSON_HELP = "Print the summary, or the error, as one JSON object."
Json = Annotated[bool, typer.Option("--json", help=JSON_HELP, rich_help_panel="Running")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress on standard error.", rich_help_panel="Running")]
ROWS_HELP = "Number of rows to read, evenly spread; fewer if 100 rows or more hold 20,000 images, sounds and texts."
AGAINST_HELP = "Source of the dataset: make each row again and compare. Repeat this option for each folder or file."


def export_dataset(
    dataset: DatasetFolder,
    out: Annotated[Path | None, typer.Option(help="Folder for the files. [DIR-fairseq in the current folder]")] = None,
    json_: Json = False,
) -> None:
    """Write files for HuBERT in fairseq from a mask-audio dataset."""
    from pseudolabel.writers.hubert import export

    print_facts(export(dataset, out), json_)


def verify_dataset(
    dataset: DatasetFolder,
    against: Annotated[list[str] | None, typer.Option(metavar="SOURCE", help=AGAINST_HELP)] = None,
    workers: Annotated[int, typer.Option(min=0, help="Number of worker processes; 0: one per usable core.")] = 0,
    json_: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check the files of a dataset, and the label of each row.

    Without --against, a row is "true" if it proves its label, and "consistent" if it has no contradiction but cannot
    prove its label. With --against, each row is made again from the source and compared. The source is read by the same
    decoders as for the run, so an error that the decoder makes both times is not found. Exit code 3 for any fault.
    """
    from pseudolabel.engine.progress import Progress
    from pseudolabel.inspection.verify import verify

    found = verify(dataset, against or (), workers=workers, progress=Progress(quiet, "rows", "false"))
    print_facts({name: value for name, value in asdict(found).items() if json_ or name != "faults"}, json_)
    if not json_:
        for fault in found.faults:
            typer.echo(escape_controls(f"{shorten(fault['where'])}: {fault['reason']}"))
        typer.echo(found.verdict)
    if not found.has_no_fault:
        raise typer.Exit(3)


def preview_dataset(
    dataset: DatasetFolder,
    out: Annotated[Path | None, typer.Option(help="File for the page. [DIR/index.html]")] = None,
    open_: Open = False,
) -> None:
    """Write a web page with facts and rows of a dataset. The page needs no network."""
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
    """Guess labels from file sizes and other facts, to find leaks.

    A fact that needs no understanding, such as a file size or the border pixels, should not give the label away.

    A linear model and a shallow tree guess each label, for sources that they did not see. The report gives each rate
    with a 95 % interval, and chance; a leak is significant after correction for the number of guesses (Holm). It also
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
    """Print the task, rows, labels and skipped samples of a dataset.

    Also print its command, the distribution of its labels, and the reason of each skip.
    """
    from pseudolabel.inspection.describe import describe
    from pseudolabel.writers.dataset import open_dataset

    facts = describe(open_dataset(dataset))
    print_facts(facts if json_ else description_table(facts), json_)


def description_table(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a dataset as the lines of a table for people."""
    from pseudolabel.inspection.describe import LabelSpread

    lists = ("labels", "left_out", "remarks", "versions")
    table = {name: value for name, value in facts.items() if name not in lists}
    table["kept"] = ", ".join(f"{name}: {kind}" for name, kind in facts["kept"].items()) or {}
    for spread in facts["labels"]:
        counts = ", ".join(f"{name}: {count:,}" for name, count in spread["counts"])
        partly = not counts or spread["rows"] < spread["of"]
        table[spread["column"]] = (counts or spread["told"]) + (f", {LabelSpread(**spread).where}" if partly else "")
    table |= {f"left out {n}": f"{count:,}: {why}" for n, (why, count) in enumerate(facts["left_out"].items(), 1)}
    return table | {f"remark {number}": remark for number, remark in enumerate(facts["remarks"], 1)}


def print_facts(facts: dict[str, Any], as_json: bool) -> None:
    """Print facts as one JSON object, or as a table for people, without those that are 0 or empty."""
    if as_json:
        typer.echo(json.dumps(facts))
        return
    if named := facts.get("ignored_suffixes"):
        facts = {**facts, "ignored": named, "ignored_suffixes": {}}
    facts = {name: value for name, value in facts.items() if value not in ({}, None, "", 0)}
    wide = max(len(name) for name in facts)
    for name, value in facts.items():
        if isinstance(value, dict):
            value = ", ".join(f"{count:,} {key}" for key, count in value.items())
        typer.echo(f"{name.ljust(wide)}  {f'{value:,}' if isinstance(value, int) else value}")
