"""Description of a dataset: its task, its command, its row counts and the distribution of its labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pseudolabel.contracts import IGNORE_INDEX, Column, UnusableSample, UserError, first_paragraph, one_line, shorten
from pseudolabel.inspection import manifest_check
from pseudolabel.storage.layout import DATA, SKIPPED
from pseudolabel.storage.retry import StoreFailure
from pseudolabel.storage.stores import parquet_source
from pseudolabel.tasks.base.task import Row, Task
from pseudolabel.writers.dataset import Dataset
from pseudolabel.writers.skip_reasons import count_reasons

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

MAX_FILES = 512  # data files to open, at most, evenly spread
MAX_ROW_GROUPS = 8  # row groups to read, at most, evenly spread
MAX_COUNTED_CLASSES = 128  # classes of a label that are counted and shown one by one, at most
MAX_REASONS = 12  # skip reasons to report, at most, the most frequent ones


class LabelSpread(NamedTuple):
    """The distribution of a label's values over the rows that were read."""

    column: str
    rows: int  # rows that were read
    of: int  # rows of the dataset
    counts: Sequence[tuple[str, int]]  # (class, its rows); empty for lists and for too many classes
    told: str  # a summary in words
    classes: int = 0  # number of classes; 0 for lists
    frequent: str = ""  # the most frequent value; "" if no single value is an answer
    share: float = 0.0  # share of `frequent` among the labels

    @property
    def where(self) -> str:
        """Return `in 1,000 rows` or `in 1,000 of 9,000 rows`."""
        return f"in {self.rows:,} rows" if self.rows == self.of else f"in {self.rows:,} of {self.of:,} rows"


def describe(dataset: Dataset) -> dict[str, Any]:
    """Return the facts that `describe --json` prints. Raise `UserError` if a file is damaged."""
    manifest, summary, task, labels = dataset.manifest, dataset.manifest["summary"], dataset.task, spreads(dataset)
    names = ("seen", "used", "skipped", "filtered", "lacking", "ignored", "shards", "bytes", "seconds")
    return {
        "out": str(dataset.out),
        "task": task.name,
        "meaning": first_paragraph(task.__doc__),
        "command": dataset.command,
        "chance": chance_level(task, labels),
        "rows": summary["rows"],
        "kept": {column.name: column.type for column in dataset.source_columns.columns},
        **{name: summary[name] for name in names},
        "ignored_suffixes": summary.get("ignored_suffixes", {}),
        "labels": [spread._asdict() for spread in labels],
        "left_out": dict(skip_reasons(dataset)),
        "remarks": manifest["remarks"],
        "versions": manifest["versions"],
    }


@contextmanager
def reading_errors(dataset: Dataset, what: str) -> Iterator[None]:
    """Convert errors of reading `what` into a `UserError` (exit code 3) that points to `pseudolabel verify`."""
    try:
        yield
    except StoreFailure:
        raise
    except (OSError, ValueError, LookupError, UnusableSample) as fault:
        remedy = f"see pseudolabel verify {quote(str(dataset.out))}"
        raise UserError(f"{what} cannot be read: {one_line(fault)}; {remedy}", 3) from fault


def skip_reasons(dataset: Dataset) -> list[tuple[str, int]]:
    """Return the most frequent skip reasons with their counts. Count reasons that differ only in digits as one."""
    with reading_errors(dataset, SKIPPED):
        found = count_reasons(manifest_check.read_skipped(dataset.out / SKIPPED))[:MAX_REASONS]
    return [(shorten(one.text) + " (and similar)" * one.varies, one.count) for one in found]


class File(NamedTuple):
    """A data file of a dataset: its name and its open Parquet file."""

    name: str
    parquet: pq.ParquetFile


class Group(NamedTuple):
    """A row group of a data file."""

    file: File
    number: int

    @property
    def row_bytes(self) -> int:
        """Return the mean size of a row in bytes."""
        group = self.file.parquet.metadata.row_group(self.number)
        return int(group.total_byte_size // max(1, group.num_rows))


def class_columns(dataset: Dataset) -> list[Column]:
    """Return the dataset's columns; an int64 label, such as a cluster, gets classes 0 to its largest value."""
    return [number_classes(c, partial(_most, dataset, c.name)) for c in dataset.columns]


def number_classes(column: Column, most: Callable[[], int]) -> Column:
    """Return the column; an int64 label gets the classes 0 to `most()`, its largest value."""
    if column.type != "int64" or column.role != "label":
        return column
    return column._replace(type="class", names=tuple(map(str, range(most() + 1))))


def _most(dataset: Dataset, name: str) -> int:
    """Return the largest value of a column. Read the values only if row groups have no statistics."""
    most = 0
    for file in sample_files(dataset):
        with reading_errors(dataset, file.name):
            place, metadata = file.parquet.schema.names.index(name), file.parquet.metadata
            known = [metadata.row_group(i).column(place).statistics for i in range(metadata.num_row_groups)]
            if all(one and one.has_min_max for one in known):
                most = max([most, *(int(one.max) for one in known)])
            else:
                most = max([most, *file.parquet.read([name])[name].to_pylist()])
    return most


def sample_files(dataset: Dataset) -> list[File]:
    """Open some data files of a dataset, evenly spread."""
    import pyarrow.parquet as pq

    found = []
    for signed_as in evenly(dataset.manifest["shards"], MAX_FILES):
        name = f"{DATA}/{signed_as['name']}"
        with reading_errors(dataset, name):  # without `pre_buffer`, only the requested parts are read
            file = parquet_source(dataset.out / name)
            found.append(File(name, pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 16)))
    return found


def sample_row_groups(dataset: Dataset, some: Sequence[File]) -> list[Group]:
    """Return a few non-empty row groups, evenly spread. Raise `UserError` if all are empty."""
    every = [Group(file, number) for file in some for number in range(file.parquet.num_row_groups)]
    with reading_errors(dataset, f"{dataset.out}"):
        found = evenly([g for g in every if g.file.parquet.metadata.row_group(g.number).num_rows], MAX_ROW_GROUPS)
        if not found:
            raise UnusableSample("it has no rows")
    return found


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most `most` of the items, evenly spread, the first one included."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def spreads(dataset: Dataset) -> list[LabelSpread]:
    """Return each label's distribution. Count classes in all rows of some files, and other labels in few row groups."""
    columns = labels_to_count(class_columns(dataset))
    some, total, found = sample_files(dataset), sum(dataset.manifest["summary"]["rows"].values()), []
    few = sample_row_groups(dataset, some)
    for column in columns:
        parts, rows = [], 0
        for file, *group in [(file,) for file in some] if column.type == "class" else few:
            with reading_errors(dataset, file.name):
                read = file.parquet.read_row_groups(group, [column.name]) if group else file.parquet.read([column.name])
                parts.append(_flat(read[column.name]))
                rows += len(read)
        found.append(_spread(column, rows, total, np.concatenate(parts)))
    return found


def labels_to_count(columns: Sequence[Column]) -> list[Column]:
    """Return the label columns that have a distribution: all except text."""
    return [c for c in columns if c.role == "label" and c.type not in ("string", "list<string>")]


def spreads_of_rows(columns: Sequence[Column], rows: Sequence[Row]) -> list[LabelSpread]:
    """Return the distribution of each of these labels over rows in memory."""
    import pyarrow as pa

    found = []
    for column in labels_to_count(columns):
        values = [row[column.name] for row in rows]
        numbered = number_classes(column, partial(max, values))
        found.append(_spread(numbered, len(rows), len(rows), _flat(pa.chunked_array([values], column.arrow))))
    return found


def chance_level(task: Task, labels: Sequence[LabelSpread]) -> str:
    """Return the chance level in words: the accuracy of the most frequent value. Prefer classes to lists."""
    known = sorted((spread for spread in labels if spread.share), key=lambda spread: not spread.classes)
    if task.description.chance_level or not known:
        return task.description.chance_level or "not defined for this label"
    best = known[0]
    among = f"the most frequent of {best.classes:,} classes" if best.classes else "the most frequent label"
    return f"{best.share:.1%} of the labels {best.where}, by always answering {shorten(best.frequent)}, {among}"


def _flat(values: pa.ChunkedArray) -> np.ndarray:
    """Flatten lists, or lists of lists, into one array."""
    import pyarrow as pa

    array = values.combine_chunks()
    while pa.types.is_list(array.type):
        array = array.flatten()
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _spread(column: Column, rows: int, total: int, values: np.ndarray) -> LabelSpread:
    return _classes(column, total, values) if column.type == "class" else _lists(column, rows, total, values)


def _classes(column: Column, total: int, values: np.ndarray) -> LabelSpread:
    counts = np.bincount(values[(values >= 0) & (values < len(column.names))], minlength=len(column.names))
    named = [(name, int(count)) for name, count in zip(column.names, counts.tolist(), strict=True)]
    few = len(named) <= MAX_COUNTED_CLASSES
    told = f"{len(named):,} classes of {counts.min():,} to {counts.max():,} rows each"
    frequent, share = column.names[counts.argmax()], float(counts.max() / max(1, counts.sum()))
    return LabelSpread(column.name, len(values), total, named if few else [], told, len(named), frequent, share)


def _lists(column: Column, rows: int, total: int, values: np.ndarray) -> LabelSpread:
    if not len(values):
        return LabelSpread(column.name, rows, total, [], "no values")
    if values.dtype == bool:
        return LabelSpread(column.name, rows, total, [], f"{values.mean():.1%} true")
    if values.dtype.kind == "f":
        return LabelSpread(
            column.name, rows, total, [], f"{values.min():.3g} to {values.max():.3g}, mean {values.mean():.3g}"
        )
    asked = values[values != IGNORE_INDEX]
    distinct, counts = np.unique(asked, return_counts=True)
    share = f"{len(asked) / max(1, len(values)):.1%} of positions have a label: " if len(asked) < len(values) else ""
    told = f"{share}{len(distinct):,} distinct values"
    if not len(asked):
        return LabelSpread(column.name, rows, total, [], told)
    most = float(counts.max() / len(asked))
    told += f", the most frequent one in {most:.1%} of the labels"
    guess = (0, str(distinct[counts.argmax()]), most) if not column.type.startswith("list<list<") else ()
    return LabelSpread(column.name, rows, total, [], told, *guess)
