"""What an audit reads: a finished dataset, Parquet files, or an iterable of dicts, as rows in their stored order."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudolabel.contracts import UserError, shorten
from pseudolabel.inspection.describe import evenly
from pseudolabel.storage.layout import MANIFEST
from pseudolabel.storage.stores import parquet_source
from pseudolabel.storage.urls import open_location
from pseudolabel.writers.dataset import Dataset, open_dataset

if TYPE_CHECKING:
    import pyarrow.parquet as pq

Row = Mapping[str, Any]
MAX_FILES = 64  # files to read from, at most, evenly spread
BATCH_ROWS = 64  # rows decoded at once


class Table(NamedTuple):
    """Rows of a table, and which of its columns are inputs and labels."""

    name: str
    rows: Iterator[Row]  # blocks of successive rows, evenly spread over the table
    inputs: Sequence[str]
    labels: Sequence[str]
    by_method: Mapping[str, str] = {}  # kind of facts -> why it tells the label, by the published method
    unknown_id: int | None = None  # id of [UNK]


def open_table(what: str, rows: int, inputs: Sequence[str] = (), labels: Sequence[str] = ()) -> Table:
    """Open a dataset's folder, a Parquet file, a folder of them, or `package.module:loader`.

    Raise `UserError` if there is nothing of the kind, or if columns are not named where they must be.
    """
    if ":" in what and "/" not in what and not Path(what).exists():
        return _named(what, islice(_loaded(what), rows), inputs, labels)
    if (open_location(what) / MANIFEST).exists():
        dataset = open_dataset(what)
        roles = {role: [c.name for c in dataset.columns if c.role == role] for role in ("input", "label")}
        read = _parquet([dataset.out / "data" / file["name"] for file in dataset.manifest["shards"]], rows, dataset)
        about = dataset.task.description.told_by(dataset.task)
        return Table(what, read, tuple(inputs) or roles["input"], tuple(labels) or roles["label"], about)
    found = open_location(what)
    files = sorted(found.rglob("*.parquet")) if found.is_dir() else [found]
    if not files or not found.exists():
        raise UserError(f"{what} holds no dataset and no Parquet file; give one, or package.module:loader")
    return _named(what, _parquet(files, rows), inputs, labels)


def _named(what: str, rows: Iterator[Row], inputs: Sequence[str], labels: Sequence[str]) -> Table:
    """Return the table. Raise `UserError` if a column is not named or does not exist."""
    first = next(rows, None)
    if first is None:
        raise UserError(f"{what} has no rows", 5)
    has = f"it has the columns {', '.join(map(str, first))}"
    if not inputs or not labels:
        raise UserError(f"{what} does not say which columns are inputs and labels: add --input and --label; {has}")
    if missing := [name for name in (*inputs, *labels) if name not in first]:
        raise UserError(f"{what} has no column {missing[0]!r}; {has}")

    def again() -> Iterator[Row]:
        yield first
        yield from rows

    return Table(what, again(), inputs, labels)


def _parquet(files: Sequence[Path], rows: int, dataset: Dataset | None = None) -> Iterator[Row]:
    """Yield about `rows` rows: the first rows of some row groups, evenly spread."""
    import pyarrow.parquet as pq

    opened: list[pq.ParquetFile] = []
    for file in evenly(files, MAX_FILES):
        try:
            opened.append(pq.ParquetFile(parquet_source(file), pre_buffer=False))
        except (OSError, ValueError) as fault:
            raise UserError(f"{file} is not a Parquet file: {shorten(fault)}", 3) from None
    total = sum(file.metadata.num_rows for file in opened)
    for file in opened:
        wanted = -(-rows * file.metadata.num_rows // max(1, total))
        yield from islice(_rows(file, wanted), wanted)


def _rows(file: pq.ParquetFile, wanted: int) -> Iterator[Row]:
    """Yield the first rows of evenly spread row groups, until `wanted` rows are read."""
    groups = range(file.num_row_groups)
    each = -(-wanted // max(1, len(groups)))
    for group in groups:
        yield from islice((row for batch in file.iter_batches(BATCH_ROWS, [group]) for row in batch.to_pylist()), each)


def _loaded(what: str) -> Iterator[Row]:
    """Import the loader and yield its dicts. Split the batches of a PyTorch DataLoader into rows."""
    module, _, name = what.partition(":")
    sys.path.insert(0, "")  # as `python -m` does: modules of the current folder
    try:
        loader = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as fault:
        raise UserError(f"{what} cannot be imported: {fault}; give package.module:loader") from None
    items: Iterable[Any] = loader() if callable(loader) and not hasattr(loader, "__iter__") else loader
    batched = getattr(items, "batch_size", None) is not None and hasattr(items, "collate_fn")
    for item in items:
        if not isinstance(item, Mapping):
            raise UserError(f"{what} yields {type(item).__name__}, not dicts; wrap it in a function that yields dicts")
        yield from _rows_of_batch(item) if batched else [item]


def _rows_of_batch(batch: Row) -> Iterator[Row]:
    count = len(next(iter(batch.values())))
    return ({name: values[i] for name, values in batch.items()} for i in range(count))
