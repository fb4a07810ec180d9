"""Show three rows of a source, with the labels to predict. Nothing is stored, except a temporary page for media."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Sequence
from functools import partial
from io import StringIO
from itertools import chain, islice, takewhile
from pathlib import Path

from pseudolabel.contracts import (
    Column,
    Fact,
    MarkedText,
    Piece,
    RunOptions,
    UserError,
    chance_for,
    escape_controls,
    first_paragraph,
    shorten,
)
from pseudolabel.engine.scan import Scan, resolve_sources, scan
from pseudolabel.engine.stream import fit_here, read_all, rows
from pseudolabel.inspection.describe import chance_level, labels_to_count, spreads_of_rows
from pseudolabel.inspection.html import render_page
from pseudolabel.inspection.preview import make_cards, sections
from pseudolabel.tasks.base.task import Labeler, Row, Task, row_columns
from pseudolabel.tasks.base.text import TextTask

SHOWN_ROWS = 3
LABEL_SECONDS = 0.5  # seconds of making more rows, whose labels are counted
MAX_SAMPLES = 1000  # samples of the source to read, at most, also for `fit`
SENTENCE_COPIES = 8  # copies of a sentence given to `fit`, so that it learns whole words
TERMINAL_COLOURS = {"blank": "\033[7m", "changed": "\033[31m", "kept": "\033[32m"}


def show(task: Task, source: str, seed: int = 0, keep: str | None = None, colour: bool = False) -> Iterator[str]:
    """Yield lines to print. If a row has images or audio, also write an HTML page; the last line is its path."""
    with tempfile.TemporaryDirectory() as folder:
        if not source.strip():
            raise UserError('there is nothing to show in ""; give a sentence, a file or a folder')
        place: Path | str = source
        taught, copies = place, 1
        if isinstance(task, TextTask) and not _a_place(task, source):
            place, taught = (_sentence(Path(folder), source, times) for times in (1, SENTENCE_COPIES))
            copies = SHOWN_ROWS
        chosen = RunOptions(seed=seed, limit=MAX_SAMPLES, keep=keep)
        task = task.resolve(resolve_sources(taught))
        found = scan(task, resolve_sources(taught), chosen)
        artefacts = fit_here(task, found, chosen, Path(folder))
        made = partial(rows, task, place, seed=seed, limit=MAX_SAMPLES, artefacts=artefacts, keep=keep)
        streams = [made(copy=copy) for copy in range(copies)]
        some = [row for one in streams for row in islice(one, SHOWN_ROWS // copies)]
        labeler = task.labeler(artefacts)
        if not some:
            raise UserError(
                f"{task.name} makes no row from {source!r}: {_why_not(task, found, labeler)}\ngive another source", 3
            )
        columns, until = row_columns(task), time.monotonic() + LABEL_SECONDS
        more = takewhile(lambda _: time.monotonic() < until, chain.from_iterable(streams))
        names = [column.name for column in labels_to_count(columns)]
        labels = [{name: row[name] for name in names} for row in chain(some, more)]
        yield from _describe_task(task, columns)
        yield f"chance level: {chance_level(task, spreads_of_rows(columns, labels))}"
        yield from (f"warning: {warning}" for warning in found.warnings)
        for row in some:
            yield f"\n{escape_controls(row['key'])}" + (f", copy {row['copy']}" if copies > 1 else "")
            yield from (f"  {c.name}: {escape_controls(shorten(row[c.name]))}" for c in found.source_columns.columns)
            yield from (f"  {line}" for piece in labeler.draw(row) for line in _lines(piece, colour))
        if not all(isinstance(piece, Fact | MarkedText) for row in some for piece in labeler.draw(row)):
            yield f"\npage: {_page(task, found.source_columns.schema(task), labeler, some)}"


def _a_place(task: Task, source: str) -> bool:
    """Return whether the source is, or looks like, a path, a URL or a list, and not a sentence."""
    looks = "/" in source or source.startswith("@") or source.endswith(tuple(task.reader().suffixes)) or source == "-"
    return os.path.exists(source) or (looks and not any(map(str.isspace, source)))


def _sentence(folder: Path, sentence: str, times: int) -> Path:
    """Write a text file of `times` copies of the sentence. Return its path."""
    path = folder / str(times) / "sentence.txt"
    path.parent.mkdir()
    path.write_text("\n\n".join([sentence] * times), "utf-8", errors="surrogateescape")
    return path


def _why_not(task: Task, found: Scan, labeler: Labeler) -> str:
    """Return the reason for the first sample that is left out."""
    lines = StringIO()
    for shard in found.plan:
        reading = read_all(shard, found.source_columns)
        reading.skips = lines
        deque(reading.label(task, labeler, chance_for(0, task.name), 1), 0)
    left = lines.getvalue().splitlines()
    return str(json.loads(left[0])["reason"]) if left else "give a longer text or more files"


def _describe_task(task: Task, columns: Sequence[Column]) -> Iterator[str]:
    """Yield the summary of the task, its inputs and its labels."""
    yield first_paragraph(task.__doc__)
    for role in ("input", "label"):
        yield from (f"{role}: {c.name}: {c.meaning}" for c in columns if c.role == role)


def _lines(piece: Piece, colour: bool) -> Iterator[str]:
    match piece:
        case Fact():
            yield f"{piece.name}: {escape_controls(piece.value)}"
        case MarkedText():
            yield from ([f"{piece.caption}:"] if piece.caption else [])
            yield "".join(_mark(*span, colour) for span in piece.spans)


def _mark(text: str, mark: str, note: str, colour: bool) -> str:
    """Return a span of text. Put a span to predict in brackets, with the text that is shown in its place."""
    text, note = escape_controls(text), escape_controls(note)
    if not mark:
        return text
    space, word = text[: len(text) - len(text.lstrip())], text.lstrip()
    inner = {"blank": word, "changed": f"{word}, shown: {note}", "kept": f"{word}, shown"}[mark]
    return f"{space}{TERMINAL_COLOURS[mark]}[{inner}]\033[0m" if colour else f"{space}[{inner}]"


def _page(task: Task, columns: Sequence[Column], labeler: Labeler, some: Sequence[Row]) -> str:
    descriptor, where = tempfile.mkstemp(prefix=f"pseudolabel-{task.name}-", suffix=".html")
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        head = [f'<p class="lead">{first_paragraph(task.__doc__)}</p>']
        file.write(
            render_page(task.name, task.description.paper, head, sections(make_cards(columns, labeler, some)[0], []))
        )
    return where
