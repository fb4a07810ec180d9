"""What an audit reads: a finished dataset, Parquet files, or an iterable of dicts, as rows in their stored order."""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pseudolabel.contracts import UserError, did_you_mean, one_line
from pseudolabel.inspection.audit.questions import TIMES
from pseudolabel.inspection.describe import evenly
from pseudolabel.storage.layout import DATA, MANIFEST
from pseudolabel.storage.retry import StoreFailure
from pseudolabel.storage.stores import parquet_source
from pseudolabel.storage.urls import open_location
from pseudolabel.writers.dataset import Dataset, open_dataset

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Row = Mapping[str, Any]
Numbered = Iterator[tuple[int, Row]]  # rows with their number in the table
MAX_FILES = 64  # files to read from, at most, evenly spread
BLOCKS = 64  # of successive rows, evenly spread over the table; more if it has many row groups
BATCH_ROWS = 64  # rows decoded at once
MORE_COLUMNS = ("key", "attention_mask", "input_ids", *TIMES)  # columns read in addition to inputs and labels


class Table(NamedTuple):
    """Rows of a table, and which of its columns are inputs and labels."""

    inputs: Sequence[str]
    labels: Sequence[str]
    first: Row  # one of the rows
    rows: Callable[[int], Numbered]  # (about how many) -> rows in blocks; called once
    dataset: Dataset | None = None


def open_table(what: str, inputs: Sequence[str] = (), labels: Sequence[str] = ()) -> Table:
    """Open a dataset's folder, a Parquet file, a folder of them, or `package.module:loader`.

    Raise `UserError` if there is nothing of the kind, or if columns are not named where they must be.
    """
    if re.fullmatch(r"[\w.]+:[\w.]+", what) and not Path(what).exists():
        first, rows = _load(what)
        check_columns(what, inputs, labels, list(first))
        return Table(inputs, labels, first, rows)
    found, dataset = open_location(what), None
    if (found / MANIFEST).exists():
        dataset = open_dataset(what)
        roles = {role: [c.name for c in dataset.columns if c.role == role] for role in ("input", "label")}
        files = [dataset.out / DATA / file["name"] for file in dataset.manifest["shards"]]
        inputs, labels = tuple(inputs) or roles["input"], tuple(labels) or roles["label"]
    elif found.is_dir():
        files = sorted(found.rglob("*.parquet"))
    else:
        files = [found] if found.exists() else []
    if not files:
        raise UserError(f"{what} holds no dataset and no Parquet file; give one, or package.module:loader", 5)
    some = evenly(files, MAX_FILES)
    opened = [_open(file) for file in some]
    names = list(opened[0].schema_arrow.names)
    check_columns(what, inputs, labels, names)
    wanted = [name for name in names if name in {*inputs, *labels, *MORE_COLUMNS}]
    for path, file in zip(some, opened, strict=True):
        if missing := [name for name in wanted if name not in file.schema_arrow.names]:
            raise UserError(f"{path} has no column {missing[0]!r}, but {some[0]} has; audit them apart", 3)
    one = next(_parquet(what, opened, wanted, 1), None)
    if one is None:
        raise _no_rows(what)
    return Table(inputs, labels, one[1], lambda rows: _parquet(what, opened, wanted, rows), dataset)


def check_columns(what: str, inputs: Sequence[str], labels: Sequence[str], names: Sequence[str]) -> None:
    """Raise `UserError` if inputs or labels are not given, are not among the columns `names`, or are the same."""
    has = f"it has the columns {', '.join(map(str, names))}"
    if not inputs or not labels:
        raise UserError(f"{what} does not say which columns are inputs and labels: {has}; add --input and --label")
    if missing := [name for name in (*inputs, *labels) if name not in names]:
        raise UserError(f"{what} has no column {missing[0]!r}; {did_you_mean(missing[0], names)}{has}")
    if both := [name for name in inputs if name in labels]:
        raise UserError(f"{both[0]!r} cannot be both an input and a label; give it once")


# --- Parquet ---------------------------------------------------------------------------------------------------------


def _open(path: Path) -> pq.ParquetFile:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(parquet_source(path), pre_buffer=False)
    except StoreFailure:
        raise
    except (OSError, ValueError) as fault:
        raise UserError(f"{path} is not a Parquet file: {one_line(fault)}; give another, or leave it out", 3) from None


def _parquet(what: str, files: Sequence[pq.ParquetFile], names: Sequence[str], rows: int) -> Numbered:
    """Yield about `rows` rows: blocks of row groups that are evenly spread, one block of each if there are many."""
    groups: list[tuple[int, int, pq.ParquetFile, int]] = []
    first = 0
    for file in files:
        for number in range(file.num_row_groups):
            size = file.metadata.row_group(number).num_rows
            groups.append((first, size, file, number))
            first += size
    groups = [group for group in groups if group[1]]
    needed = -(-rows * len(groups) // max(1, first))  # so many groups hold `rows` rows
    some = list(evenly(groups, max(BLOCKS, needed))) if groups else []
    total, seen = sum(size for _, size, _, _ in some), 0
    for first, size, file, number in some:
        wanted = _spread(size, rows * (seen + size) // total - rows * seen // total, -(-BLOCKS // len(some)))
        seen += size
        batches = file.iter_batches(BATCH_ROWS, [number], list(names)) if wanted else iter(())
        try:
            yield from ((first + at, row) for at, row in _rows_at(wanted, batches))
        except StoreFailure:
            raise
        except (OSError, ValueError) as fault:
            raise UserError(f"{what} cannot be read: {one_line(fault)}; repair the file", 3) from None


def _rows_at(numbers: Sequence[int], batches: Iterable[pa.RecordBatch]) -> Numbered:
    """Yield the rows with these ascending numbers. Read no further than the last one."""
    import pyarrow as pa

    start = done = 0
    for batch in batches:
        end = bisect_left(numbers, start + len(batch), done)
        here = numbers[done:end]
        yield from zip(here, batch.take(pa.array([at - start for at in here], pa.int64())).to_pylist(), strict=True)
        start, done = start + len(batch), end
        if done == len(numbers):
            return


# --- loaders ---------------------------------------------------------------------------------------------------------


def _load(what: str) -> tuple[Row, Callable[[int], Numbered]]:
    """Import the loader. Return its first row and a function that yields rows: blocks if it has a length and indices.

    A loader is an iterable of dicts, or a function that returns one.
    """
    module, _, name = what.partition(":")
    sys.path.insert(0, "")  # as `python -m` does: modules of the current folder
    try:
        loader = importlib.import_module(module)
        for part in name.split("."):
            loader = getattr(loader, part)
    except (ImportError, AttributeError) as fault:
        raise UserError(f"{what} cannot be imported: {fault}; give package.module:loader") from None
    with _failures(what):
        items: Any = loader() if callable(loader) and not hasattr(loader, "__iter__") else loader
    batched = hasattr(items, "collate_fn") and (items.batch_size or getattr(items, "batch_sampler", None)) is not None
    if not batched and hasattr(items, "__getitem__") and hasattr(items, "__len__") and not isinstance(items, Mapping):
        if not len(items):
            raise _no_rows(what)
        with _failures(what):
            first = items[0]
        return _row(what, first), lambda rows: _guard(what, ((i, items[i]) for i in _spread(len(items), rows)))
    if not hasattr(items, "__iter__"):
        raise UserError(f"{what} is a {type(items).__name__}; give an iterable of dicts or a function that returns one")
    numbered = _guard(what, enumerate(chain.from_iterable(map(_split, items)) if batched else items))
    one = next(numbered, None)
    if one is None:
        raise _no_rows(what)
    return one[1], lambda rows: islice(chain([one], numbered), rows)


@contextmanager
def _failures(what: str) -> Iterator[None]:
    """Convert an exception of the loader, which is not our code, into a `UserError` that says where it was raised."""
    try:
        yield
    except UserError:
        raise
    except Exception as fault:
        where = traceback.extract_tb(fault.__traceback__)[-1]
        said = f"{type(fault).__name__}: {one_line(fault)} ({where.filename}, line {where.lineno})"
        raise UserError(f"{what} failed: {said}; repair the loader", 3) from fault


def _no_rows(what: str) -> UserError:
    return UserError(f"{what} has no rows; give a table or a dataset that has some", 5)


def _guard(what: str, items: Iterable[tuple[int, Any]]) -> Numbered:
    with _failures(what):
        for number, item in items:
            yield number, _row(what, item)


def _spread(length: int, rows: int, blocks: int = BLOCKS) -> list[int]:
    """Return the numbers of about `rows` of `length` rows: blocks that are evenly spread."""
    starts = [length * block // blocks for block in range(blocks + 1)]
    wanted = [rows * block // blocks for block in range(blocks + 1)]
    sizes = [min(b - a, d - c) for (a, b), (c, d) in zip(pairwise(starts), pairwise(wanted), strict=True)]
    return [number for start, size in zip(starts, sizes, strict=False) for number in range(start, start + size)]


def _row(what: str, item: Any) -> Row:
    if not isinstance(item, Mapping):
        raise UserError(f"{what} yields {type(item).__name__}, not dicts; wrap it in a function that yields dicts")
    return item


def _split(batch: Any) -> Iterator[Any]:
    """Split a batch of a PyTorch DataLoader into rows; a batch that is no dict has its rows as items."""
    if not isinstance(batch, Mapping):
        return iter(batch)
    sizes = [len(value) for value in batch.values() if not isinstance(value, Mapping) and not _is_columns(value)]
    sizes += [len(value[0]) for value in batch.values() if _is_columns(value)]
    rows = sizes[0] if sizes else len(next(iter(next(iter(batch.values())).values())))
    return ({name: _take(value, i, rows) for name, value in batch.items()} for i in range(rows))


def _is_columns(value: Any) -> bool:
    """Return whether a value may be what PyTorch's default collation makes of lists: a tensor for each place."""
    return isinstance(value, list) and bool(value) and all(getattr(one, "ndim", None) == 1 for one in value)


def _take(value: Any, at: int, rows: int) -> Any:
    if isinstance(value, Mapping):
        return {name: _take(one, at, rows) for name, one in value.items()}
    return [one[at].item() for one in value] if _is_columns(value) and len(value[0]) == rows else value[at]
