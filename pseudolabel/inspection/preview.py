"""Preview page: the facts of a dataset and some of its rows, drawn by its task. It reads only a part of the data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from pseudolabel.contracts import (
    Column,
    Skipped,
    decoding_errors,
    hash64,
    number_of,
    or_skipped,
    shorten,
    size_text,
)
from pseudolabel.inspection.audit.report import render_report, stored_report
from pseudolabel.inspection.describe import (
    MAX_COUNTED_CLASSES,
    Group,
    LabelSpread,
    class_columns,
    describe,
    reading_errors,
    sample_files,
    sample_row_groups,
)
from pseudolabel.inspection.html import Card, Section, escape_text, isolate, render_card, render_page, render_pieces
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import PREVIEW
from pseudolabel.tasks.base.task import Labeler, Row
from pseudolabel.writers.dataset import Dataset, open_dataset

MIN_ROWS = 24  # rows to show, or ROWS_PER_CLASS of each class if these are more
ROWS_PER_CLASS = 4
CANDIDATE_ROWS = 256  # first rows of a row group, among which the rows to show are chosen
MAX_BATCH_BYTES = 8 << 20  # approximate size of the candidate rows; there are fewer candidates if rows are large
BATCH_ROWS = 8  # rows decoded at once
MAX_PAGE_BYTES = 4_800_000  # bytes of the facts and the cards, at most
MAX_BARS = 12  # classes in a table; more classes become a bar chart


def preview(out: Path | str, to: Path | None = None) -> Path:
    """Write the page to `to`, by default to the dataset's `index.html`. Return its path."""
    dataset = open_dataset(out)
    made, task = describe(dataset), dataset.task
    with reading_errors(dataset, "the artefacts"), decoding_errors("they are damaged"):
        labeler = task.labeler(dataset.artefacts)
    audit = stored_report(dataset)
    top, tail = list(render_facts(made)), list(render_report(audit)) if audit else []
    room = MAX_PAGE_BYTES - sum(len(part.encode()) for part in (*top, *tail))
    shown, lost = make_cards(class_columns(dataset), labeler, choose_rows(dataset), room)
    if lost:
        top.append(f'<p class="lost">{lost} of the chosen rows did not fit on the page.</p>')
    where, kicker = to or dataset.out / PREVIEW, f"{task.name} · {task.description.paper}"
    write_atomic(where, [render_page(dataset.out.name, kicker, top, sections(shown, made["labels"]), tail)])
    return where


# --- choose rows -----------------------------------------------------------------------------------------------------


def choose_rows(dataset: Dataset) -> Iterator[Row]:
    """Yield rows of a few row groups, equally many per class. A hash selects the rows: always the same ones."""
    label = class_of(class_columns(dataset))
    count = max(MIN_ROWS, ROWS_PER_CLASS * len(label.names) if label else 0)
    few = sample_row_groups(dataset, sample_files(dataset))
    shown = Counter[int]()
    for number, group in enumerate(few):
        wanted = count * (number + 1) // len(few) - count * number // len(few)
        with reading_errors(dataset, group.file.name):
            among = max(wanted, min(CANDIDATE_ROWS, MAX_BATCH_BYTES // max(1, group.row_bytes)))
            names = ["key", "copy", *([label.name] if label else [])]
            head = next(group.file.parquet.iter_batches(among, [group.number], names))
            rows = zip(*(head[name].to_pylist() for name in ("key", "copy", names[-1])), strict=True)
            ranks = {i: (hash64(f"{key} {copy} {i}"), kind) for i, (key, copy, kind) in enumerate(rows)}
            order, best = sorted(ranks, key=lambda i: ranks[i][0]), list[int]()
            for _ in range(min(wanted, len(order))):
                best.append(min(order, key=lambda i: shown[ranks[i][1] if label else 0]))
                order.remove(best[-1])
                shown[ranks[best[-1]][1] if label else 0] += 1
            yield from _read(group, best)


def _read(group: Group, wanted: Sequence[int]) -> Iterator[Row]:
    """Yield the rows at the indices `wanted`. Hold BATCH_ROWS rows at a time; stop after the last wanted one."""
    at, last = 0, max(wanted)
    for rows in group.file.parquet.iter_batches(BATCH_ROWS, [group.number]):
        yield from (row for i, row in enumerate(rows.to_pylist(), at) if i in wanted)
        at += len(rows)
        if at > last:
            return


def class_of(columns: Sequence[Column]) -> Column | None:
    """Return the first class label of at most MAX_COUNTED_CLASSES classes, if there is one."""
    labels = (c for c in columns if c.type == "class" and c.role == "label" and len(c.names) <= MAX_COUNTED_CLASSES)
    return next(labels, None)


# --- draw rows -------------------------------------------------------------------------------------------------------


def make_cards(
    columns: Sequence[Column], labeler: Labeler, rows: Iterable[Row], room: int = MAX_PAGE_BYTES
) -> tuple[list[tuple[str, Card]], int]:
    """Return the (heading, card) of the rows that fit into `room` bytes, and the number of rows that did not fit."""
    shown, lost = [], 0
    for row in rows:
        named, one = make_card(columns, labeler, row)
        size = len(render_card(one).encode())
        if size > room:
            lost += 1
            continue
        room -= size
        shown.append((named, one))
    return shown, lost


def make_card(columns: Sequence[Column], labeler: Labeler, row: Row) -> tuple[str, Card]:
    """Return the heading of a row (`label: class`, or "") and its card."""
    made = or_skipped(partial(_pieces, labeler, row))
    told = (c.name for c in columns if c.role in ("about", "kept") and c.name not in ("key", "copy"))
    about = [(name, shorten(row[name])) for name in told]
    copy = f" · copy {row['copy']}" if row["copy"] else ""
    pieces = f"<p>{escape_text(made.reason)}</p>" if isinstance(made, Skipped) else made
    label = class_of(columns)
    named = f"{label.name}: {label.class_name(row[label.name])}" if label else ""
    return named, Card(f"{shorten(row['key'])}{copy}", pieces, about)


def _pieces(labeler: Labeler, row: Row) -> str:
    with decoding_errors("cannot be drawn"):  # stored data may be damaged in any way
        return render_pieces(labeler.draw(row))


def sections(shown: Sequence[tuple[str, Card]], labels: Sequence[dict[str, Any]]) -> list[Section]:
    """Group cards by class, in the order of the classes."""
    counts = {
        f"{spread['column']}: {name}": f"{count:,} rows" if spread["rows"] == spread["of"] else ""
        for spread in labels
        for name, count in spread["counts"]
    }
    places = {named: place for place, named in enumerate(counts)}
    ordered = sorted(shown, key=lambda one: places.get(one[0], len(places)))
    return [
        Section(named, counts.get(named, ""), [card for _, card in some])
        for named, some in groupby(ordered, key=lambda one: one[0])
    ]


# --- facts -----------------------------------------------------------------------------------------------------------


def render_facts(made: dict[str, Any]) -> Iterator[str]:
    """Yield the facts that `describe` returned, as HTML."""
    yield f'<p class="lead">{escape_text(made["meaning"])}</p><pre>{escape_text(made["command"])}</pre>'
    yield '<ul class="stats">'
    numbers = {f"{split} rows": count for split, count in made["rows"].items()}
    numbers |= {f"samples {name}": made[name] for name in ("seen", "skipped", "filtered")}
    numbers |= {"rows missing": made["lacking"]} if made["lacking"] else {}
    for name, count in numbers.items():
        yield f"<li><b>{count:,}</b><span>{escape_text(name)}</span></li>"
    yield f"<li><b>{size_text(made['bytes'])}</b><span>in {number_of(made['shards'], 'shards')}</span></li></ul>"
    yield '<div class="facts">'
    for spread in made["labels"]:
        yield _spread(LabelSpread(**spread))
    yield f"<div><h2>Chance level</h2><p>{escape_text(made['chance'])}.</p></div>"
    if made["left_out"]:
        lines = "".join(
            f'<tr><td>{isolate(reason)}</td><td class="n">{count:,}</td></tr>'
            for reason, count in made["left_out"].items()
        )
        yield f"<div><h2>Skip reasons</h2><table>{lines}</table></div>"
    for remark in made["remarks"]:
        yield f"<div><h2>Remark</h2><p>{isolate(remark)}</p></div>"
    yield "</div>"


def _spread(spread: LabelSpread) -> str:
    most = max([1, *(count for _, count in spread.counts)])
    if len(spread.counts) > MAX_BARS:
        bars = (
            f'<i style="height:{100 * count / most:.1f}%" title="{escape_text(f"{name}: {count:,}")}"></i>'
            for name, count in spread.counts
        )
        content = f'<div class="bars">{"".join(bars)}</div><p>{escape_text(spread.told)}</p>'
    elif spread.counts:
        lines = (
            f'<tr><td>{isolate(name)}</td><td class="bar">'
            f'<meter max="{most}" value="{count}" aria-label="{escape_text(name)}"></meter></td>'
            f'<td class="n">{count:,}</td></tr>'
            for name, count in spread.counts
        )
        content = f"<table>{''.join(lines)}</table>"
    else:
        content = f"<p>{escape_text(spread.told)}, {spread.where}.</p>"
    if spread.counts and spread.rows < spread.of:
        content += f"<p>{spread.where}</p>"
    return f"<div><h2>{escape_text(spread.column)}</h2>{content}</div>"
