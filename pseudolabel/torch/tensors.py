"""Rows as columns of arrays, and columns as the tensors that models and losses take."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.utils.data import get_worker_info

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
MEDIA = (np.dtype(np.uint8), np.dtype(np.int16))  # types of pixels and of sound
ALIGNMENT = 64  # bytes
Columns = dict[str, Any]  # name -> n values: an array (n, ...), or a list of arrays, lists of arrays, text or None
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
        return _stack(every) if not encoded and len({one.shape for one in every}) == 1 else every
    if encoded:
        return media.encode(kind, value)["bytes"]
    array = np.require(media.decode(kind, value), requirements=("C", "W"))
    if kind != "image":
        return array
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


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
        return made.reshape(len(values), *lengths[:1])  # a batch without rows has no length
    return np.split(made, (ends - ends[0])[1:-1])


def one_row(columns: Columns, at: int) -> Tensors:
    """Return the row at this place."""
    return {name: _tensor(values[at]) for name, values in columns.items()}


class Part(NamedTuple):
    """The rows of a batch that are in the same columns."""

    columns: Columns
    there: list[int]  # their places in the columns
    here: list[int]  # their places in the batch


def batch_of(rows: Sequence[tuple[Columns, int]], more: Mapping[str, np.ndarray]) -> Tensors:
    """Return rows, each given as columns and its place in them, as a batch: a tensor (n, ...) of each column whose
    values have one shape, a list of the n values of any other. `more`: further columns."""
    parts: dict[int, Part] = {}
    for number, (columns, at) in enumerate(rows):
        part = parts.setdefault(id(columns), Part(columns, [], []))
        part.there.append(at)
        part.here.append(number)
    alike = {
        name: one for name, one in rows[0][0].items() if _have_one_shape([p.columns[name] for p in parts.values()])
    }
    every = {**alike, **more}
    tensors = empty_tensors({name: ((len(rows), *one.shape[1:]), one.dtype) for name, one in every.items()})
    for name in alike:
        target = tensors[name].numpy()
        for columns, there, here in parts.values():
            _copy(columns[name], there, target, here)
    for name, values in more.items():
        tensors[name].numpy()[:] = values
    return {
        name: tensors[name] if name in tensors else [_tensor(columns[name][at]) for columns, at in rows]
        for name in (*rows[0][0], *more)
    }


def _have_one_shape(values: Sequence[Any]) -> bool:
    return all(isinstance(one, np.ndarray) and one.shape[1:] == values[0].shape[1:] for one in values)


def _stack(values: Sequence[np.ndarray]) -> np.ndarray:
    stacked = np.empty((len(values), *values[0].shape), values[0].dtype)
    for at, value in enumerate(values):
        _copy(value[None], [0], stacked, [at])
    return stacked


def _copy(source: np.ndarray, there: list[int], target: np.ndarray, here: list[int]) -> None:
    """Copy values of `source` to other places in `target`."""
    if _is_image(source[0]):
        import cv2

        for i, j in zip(there, here, strict=True):
            cv2.split(source[i].transpose(1, 2, 0), [*target[j]])  # seven times as fast as a copy by NumPy
    else:
        target[here] = source[there]


def _is_image(value: np.ndarray) -> bool:
    """Return whether a value is the (C, H, W) view of an (H, W, C) uint8 array."""
    return value.ndim == 3 and value.dtype == np.uint8 and value.strides[0] == 1


def empty_tensors(wanted: Mapping[str, tuple[tuple[int, ...], np.dtype[Any]]]) -> Tensors:
    """Return tensors of these shapes and types. In a worker of a loader they are in shared memory.

    Numbers share one block, since each block costs the training process a message. Each column of media has a block of
    its own, so that a label that the user keeps does not hold the images in memory.
    """
    blocks: dict[str, tuple[int, dict[str, int]]] = {}  # bytes, and where in them each tensor begins
    for name, (shape, kind) in wanted.items():
        block = name if kind in MEDIA else ""
        size, starts = blocks.get(block, (0, {}))
        blocks[block] = size + -(-_size(shape, kind) // ALIGNMENT) * ALIGNMENT, starts | {name: size}
    make: Any = torch.UntypedStorage if get_worker_info() is None else torch.UntypedStorage._new_shared
    made: Tensors = {}
    for size, starts in blocks.values():
        memory = torch.empty(0, dtype=torch.uint8).set_(make(size), 0, (size,), (1,))
        for name, start in starts.items():
            shape, kind = wanted[name]
            like = torch.from_numpy(np.empty(0, kind)).dtype
            made[name] = memory[start : start + _size(shape, kind)].view(like).reshape(shape)
    return made


def _size(shape: tuple[int, ...], kind: np.dtype[Any]) -> int:
    """Return the bytes of an array."""
    return math.prod(shape) * kind.itemsize


def _tensor(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_tensor, value)]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(_stack([value])[0] if _is_image(value) else value)
    return torch.as_tensor(value) if isinstance(value, np.generic) else value
