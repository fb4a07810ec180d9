"""Rows as columns of arrays, and columns as the tensors that models and losses take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import default_collate

from pseudolabel.contracts import Column
from pseudolabel.tasks.base import media
from pseudolabel.tasks.base.task import Row

if TYPE_CHECKING:
    import pyarrow as pa

KINDS: dict[str, Any] = {  # whole numbers are int64, as embeddings and losses want them; text is no tensor
    **dict.fromkeys(("class", "int8", "int16", "int32", "int64"), np.int64),
    **dict.fromkeys(("uint8", "uint16", "uint32", "uint64"), np.int64),
    "bool": np.bool_,
    "float32": np.float32,
    "float64": np.float64,
}
Columns = dict[str, Any]  # of n rows: an array (n, ...), or a list of n values: arrays, lists of arrays, text, None
Tensors = dict[str, Any]


def columns_of_row(row: Row, columns: Sequence[Column], encoded: bool) -> Columns:
    """Return the columns of one row. `encoded`: media are bytes."""
    made = ((column.name, _value(column.type, row.get(column.name), encoded)) for column in columns)
    return {name: value[None] if isinstance(value, np.ndarray) else [value] for name, value in made}


def _value(kind: str, value: Any, encoded: bool) -> Any:
    if value is None:
        return None
    if not media.is_media(kind):
        number = KINDS.get(kind.rpartition("<")[2].rstrip(">"))
        if number is not None and kind.startswith("list<list<") and len({*map(len, value)}) > 1:
            return [_value(kind[5:-1], one, encoded) for one in value]
        return value if number is None else np.array(value, number)
    if kind.startswith("list<"):
        every = [_value(kind[5:-1], one, encoded) for one in value]
        return np.stack(every) if not encoded and len({one.shape for one in every}) == 1 else every
    if encoded:
        return media.encode(kind, value)["bytes"]
    array = media.decode(kind, value)
    return planes(array) if kind == "image" else np.require(array, requirements=("C", "W"))


def planes(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) or (H, W) uint8 -> (3, H, W) or (1, H, W) uint8"""
    import cv2

    if image.ndim == 2:
        return np.require(image, requirements=("C", "W"))[None]
    made = np.empty((image.shape[2], *image.shape[:2]), np.uint8)
    cv2.split(np.ascontiguousarray(image), [*made])  # seven times as fast as a transposed copy
    return made


def columns_of_batch(batch: pa.RecordBatch, columns: Sequence[Column]) -> Columns:
    """Return the columns of a record batch, which has no media."""
    return {column.name: _column(column, batch.column(column.name)) for column in columns}


def _column(column: Column, values: pa.Array) -> Any:
    kind = column.type.removeprefix("list<").rstrip(">")
    if kind not in KINDS:
        return values.to_pylist()
    listed = column.type != kind
    flat = values.flatten() if listed else values
    made = np.array(flat.to_numpy(zero_copy_only=False), KINDS[kind])
    if not listed:
        return made
    ends = values.offsets.to_numpy()
    lengths = np.diff(ends)
    if (lengths == lengths[:1]).all():
        return made.reshape(len(values), -1)
    return np.split(made, (ends - ends[0])[1:-1])


def one_row(columns: Columns, at: int) -> Tensors:
    """Return the row at this place."""
    return {name: _tensor(values[at]) for name, values in columns.items()}


def batch_of(rows: Sequence[tuple[Columns, int]]) -> Tensors:
    """Return rows, each the place of one in some columns, as a batch: a tensor (n, ...) of each column whose values
    have one shape, a list of the n values of any other."""
    parts: dict[int, tuple[Columns, list[int], list[int]]] = {}  # by the identity of the columns: places there and here
    for here, (columns, there) in enumerate(rows):
        part = parts.setdefault(id(columns), (columns, [], []))
        part[1].append(there)
        part[2].append(here)
    every = [part for part, _, _ in parts.values()]
    back = np.argsort([here for _, _, places in parts.values() for here in places])
    batch: Tensors = {}
    for name in every[0]:
        values = [part[name] for part in every]
        if len({one.shape[1:] if isinstance(one, np.ndarray) else None for one in values} | {None}) != 2:
            batch[name] = [_tensor(columns[name][at]) for columns, at in rows]
        elif len(every) == len(rows):  # such as images; a worker collates them in shared memory
            batch[name] = default_collate([one[at] for one, (_, at) in zip(values, rows, strict=True)])
        else:
            gathered = [one[places] for one, (_, places, _) in zip(values, parts.values(), strict=True)]
            batch[name] = torch.from_numpy(np.concatenate(gathered)[back])
    return batch


def _tensor(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_tensor, value)]
    return torch.as_tensor(value) if isinstance(value, np.ndarray | np.generic) else value
