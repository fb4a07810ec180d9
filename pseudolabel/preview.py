"""Preview: some rows of a dataset, drawn by its task on one page, below the facts. It reads only what it shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

from pseudolabel.columns import Column
from pseudolabel.dataset import Dataset, opened
from pseudolabel.facts import FEW, GROUPS, Spread, evenly, facts, files
from pseudolabel.folder import PREVIEW
from pseudolabel.page import Card, Section, bdi, html, page, text
from pseudolabel.pieces import short
from pseudolabel.sample import Skipped, attempt, blamed, hash64
from pseudolabel.shards import write_whole
from pseudolabel.tasks.base import Labeler, Row, Task

ROWS = 24  # at least, and a few of each class
EACH = 4
AMONG = 256  # first rows of a row group, among which they are chosen: no others are read
MOST = 4_800_000  # bytes of the page
BARS = 12  # classes; more are shown as bars beside each other


def preview(out: Path | str, to: Path | None = None) -> Path:
    """Write the page, `index.html` beside the data unless a place is given; return where."""
    dataset = opened(Path(out))
    made = facts(dataset)
    labeler = dataset.task.labeler(dataset.out)
    shown = list(cards(dataset.task, labeler, chosen(dataset)))
    where = to or dataset.out / PREVIEW
    kicker = f"{dataset.task.name} · {dataset.task.paper}"
    write_whole(where, [page(dataset.out.name, kicker, head(dataset.task, made), sections(shown, made["labels"]))])
    return where


# --- which rows ------------------------------------------------------------------------------------------------------


def chosen(dataset: Dataset) -> Iterator[Row]:
    """Rows of a few row groups, evenly spread: of each class as many, by a hash of their names: always the same."""
    label = class_of(dataset.task)
    count = max(ROWS, EACH * len(label.names) if label else 0)
    groups = evenly([(file, group) for file in files(dataset) for group in range(file.num_row_groups)], GROUPS)
    shown = Counter[int]()
    for number, (file, group) in enumerate(groups):
        wanted = count * (number + 1) // len(groups) - count * number // len(groups)
        rows = next(file.iter_batches(AMONG, [group]))
        keys = zip(rows["key"].to_pylist(), rows["copy"].to_pylist(), strict=True)
        ranks = [hash64(f"{key} {copy} {i}") for i, (key, copy) in enumerate(keys)]
        order = sorted(range(len(ranks)), key=ranks.__getitem__)
        classes = rows[label.name].to_pylist() if label else [0] * len(ranks)
        for _ in range(min(wanted, len(order))):
            best = min(order, key=lambda i: shown[classes[i]])
            order.remove(best)
            shown[classes[best]] += 1
            yield rows.slice(best, 1).to_pylist()[0]


def class_of(task: Task) -> Column | None:
    """The label whose classes are few enough to be told apart on a page, if there is one."""
    labels = (c for c in task.schema() if c.type == "class" and c.role == "label" and len(c.names) <= FEW)
    return next(labels, None)


# --- how they are drawn ----------------------------------------------------------------------------------------------


def cards(task: Task, labeler: Labeler, rows: Iterable[Row]) -> Iterator[tuple[str, Card]]:
    """Rows as cards, each with its class, as many as a page holds."""
    size = 0
    for row in rows:
        named, card = drawn(task, labeler, row)
        size += len(card.pieces)
        if size > MOST:
            return
        yield named, card


def drawn(task: Task, labeler: Labeler, row: Row) -> tuple[str, Card]:
    """A row's class, and its card."""
    made = attempt("", partial(_pieces, labeler, row))
    about = [(c.name, short(row[c.name])) for c in task.schema() if c.role == "about" and c.name not in ("key", "copy")]
    copy = f" · copy {row['copy']}" if row["copy"] else ""
    pieces = f"<p>{text(made.reason)}</p>" if isinstance(made, Skipped) else made
    label = class_of(task)
    named = f"{label.name}: {label.named(row[label.name])}" if label else ""
    return named, Card(f"{row['key']}{copy}", pieces, about)


def _pieces(labeler: Labeler, row: Row) -> str:
    with blamed("cannot be drawn"):  # what is stored may be anything
        return html(labeler.draw(row))


def sections(shown: Sequence[tuple[str, Card]], labels: Sequence[dict[str, Any]]) -> list[Section]:
    """Cards of one class together, in the order of the classes."""
    rows = {f"{spread['column']}: {name}": count for spread in labels for name, count in spread["counts"]}
    places = {named: place for place, named in enumerate(rows)}
    ordered = sorted(shown, key=lambda one: places.get(one[0], len(places)))
    return [
        Section(named, f"{rows[named]:,} rows" if named in rows else "", [card for _, card in some])
        for named, some in groupby(ordered, key=lambda one: one[0])
    ]


# --- the facts above them --------------------------------------------------------------------------------------------


def head(task: Task, made: dict[str, Any]) -> Iterator[str]:
    """The facts as HTML."""
    yield f'<p class="lead">{text(made["what"])}</p><pre>{text(made["command"])}</pre><ul class="stats">'
    numbers = {f"{split} rows": count for split, count in made["rows"].items()}
    numbers |= {f"samples {name}": made[name] for name in ("seen", "skipped", "filtered")}
    numbers |= {"rows lacking": made["lacking"]} if made["lacking"] else {}
    for name, count in numbers.items():
        yield f"<li><b>{count:,}</b><span>{text(name)}</span></li>"
    yield f"<li><b>{size(made['bytes'])}</b><span>in {made['shards']:,} shards</span></li></ul>"
    yield '<div class="facts">'
    for spread in made["labels"]:
        yield _spread(Spread(**spread))
    yield f"<div><h4>A guess is right</h4><p>{text(made['odds'])}.</p></div>"
    if made["left_out"]:
        lines = "".join(
            f'<tr><td>{bdi(reason)}</td><td class="n">{count:,}</td></tr>' for reason, count in made["left_out"].items()
        )
        yield f"<div><h4>Left out, and why</h4><table>{lines}</table></div>"
    for remark in made["remarks"]:
        yield f"<div><h4>Remark</h4><p>{bdi(remark)}</p></div>"
    yield "</div>"


def _spread(spread: Spread) -> str:
    most = max([1, *(count for _, count in spread.counts)])
    if len(spread.counts) > BARS:
        bars = (
            f'<i style="height:{100 * count / most:.1f}%" title="{text(f"{name}: {count:,}")}"></i>'
            for name, count in spread.counts
        )
        content = f'<div class="bars">{"".join(bars)}</div><p>{text(spread.told)}</p>'
    elif spread.counts:
        lines = (
            f'<tr><td>{bdi(name)}</td><td class="bar"><meter max="{most}" value="{count}"></meter></td>'
            f'<td class="n">{count:,}</td></tr>'
            for name, count in spread.counts
        )
        content = f"<table>{''.join(lines)}</table>"
    else:
        content = f"<p>{text(spread.told)}, in {spread.rows:,} rows.</p>"
    return f"<div><h4>{text(spread.column)}</h4>{content}</div>"


def size(count: float) -> str:
    """Bytes as people say them."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
