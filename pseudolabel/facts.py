"""The facts of a dataset: what it is, how it was made, how many rows, and how its labels are spread."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pseudolabel.columns import Column
from pseudolabel.dataset import Dataset
from pseudolabel.folder import SKIPPED
from pseudolabel.masking import UNTOLD

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FILES = 64  # that are looked into, at most, evenly spread
GROUPS = 8  # row groups of whose lists of labels shares are taken
FEW = 128  # classes; of so many each is counted, and shown by itself
REASONS = 12  # the commonest of what was left out for


class Spread(NamedTuple):
    """How the values of a label are spread over the rows looked at."""

    column: str
    rows: int
    counts: Sequence[tuple[str, int]]  # of a class: each one's rows; of codes: how often the commonest stand there
    told: str  # in words


def facts(dataset: Dataset) -> dict[str, Any]:
    """All that is said of a dataset, as `describe --json` prints it."""
    manifest, summary, task = dataset.manifest, dataset.manifest["summary"], dataset.task
    names = ("seen", "used", "skipped", "filtered", "lacking", "ignored", "shards", "bytes", "seconds")
    return {
        "out": str(dataset.out),
        "task": task.name,
        "what": first_paragraph(task.__doc__ or ""),
        "command": dataset.command,
        "odds": task.odds(dataset.out),
        "rows": summary["rows"],
        **{name: summary[name] for name in names},
        "labels": [spread._asdict() for spread in spreads(dataset)],
        "left_out": dict(left_out(dataset)),
        "remarks": manifest["remarks"],
        "versions": manifest["versions"],
    }


def first_paragraph(text: str) -> str:
    """Of a docstring."""
    return " ".join(text.strip().partition("\n\n")[0].split())


def left_out(dataset: Dataset) -> list[tuple[str, int]]:
    """Why samples and rows were left out, the commonest reasons first; those that differ in numbers only are one."""
    counts, first, several = Counter[str](), dict[str, str](), set[str]()
    with (dataset.out / SKIPPED).open(encoding="utf-8") as lines:
        for line in map(json.loads, lines):
            kind = re.sub(r"\d+", "0", line["reason"])
            counts[kind] += line["samples"] or line.get("rows", 0)
            if first.setdefault(kind, line["reason"]) != line["reason"]:
                several.add(kind)
    some = sorted(counts.items(), key=lambda reason: (-reason[1], reason[0]))[:REASONS]
    return [(first[kind] + ", and the like" * (kind in several), count) for kind, count in some]


def files(dataset: Dataset) -> Iterator[pq.ParquetFile]:
    """Some of its files, evenly spread."""
    import pyarrow.parquet as pq

    for file in evenly(dataset.manifest["shards"], FILES):
        path = dataset.out / "data" / file["name"]
        yield pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 16)  # it reads no further than it is asked


def evenly(items: Sequence[Any], most: int) -> list[Any]:
    """As many of them as are wanted, evenly spread, the first among them."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def spreads(dataset: Dataset) -> list[Spread]:
    """Of each label: classes over all rows of the files looked into, lists over those of a few row groups."""
    columns = [c for c in dataset.task.schema() if c.role == "label" and c.type not in ("string", "list<string>")]
    some = list(files(dataset))
    groups = evenly([(file, group) for file in some for group in range(file.num_row_groups)], GROUPS)
    found = []
    for column in columns:
        if column.type == "class":
            parts = [file.read([column.name])[column.name].to_numpy() for file in some]
            found.append(_classes(column, np.concatenate(parts)))
        else:
            values = [file.read_row_group(group, [column.name])[column.name] for file, group in groups]
            found.append(_lists(column, sum(map(len, values)), np.concatenate([_flat(value) for value in values])))
    return found


def _flat(values: pa.ChunkedArray) -> np.ndarray:
    """Lists, or lists of lists, as one array."""
    import pyarrow as pa

    array = values.combine_chunks()
    while pa.types.is_list(array.type):
        array = array.flatten()
    return np.asarray(array.to_numpy(zero_copy_only=False))


def _classes(column: Column, values: np.ndarray) -> Spread:
    counts = np.bincount(values[(values >= 0) & (values < len(column.names))], minlength=len(column.names))
    named = [(name, int(count)) for name, count in zip(column.names, counts.tolist(), strict=True)]
    few = len(named) <= FEW
    told = f"{len(named):,} classes, each {counts.min():,} to {counts.max():,} times"
    return Spread(column.name, len(values), named if few else [], told)


def _lists(column: Column, rows: int, values: np.ndarray) -> Spread:
    if values.dtype == bool:
        return Spread(column.name, rows, [], f"{values.mean():.1%} true")
    if values.dtype.kind == "f":
        return Spread(
            column.name, rows, [], f"{values.min():.3g} to {values.max():.3g}, {values.mean():.3g} on average"
        )
    asked = values[values != UNTOLD]
    distinct, counts = np.unique(asked, return_counts=True)
    share = f"{len(asked) / max(1, len(values)):.1%} of the places asked for, " if len(asked) < len(values) else ""
    commonest = f"; the commonest is {counts.max() / len(asked):.1%} of them" if len(asked) else ""
    return Spread(column.name, rows, [], f"{share}{len(distinct):,} values{commonest}")
