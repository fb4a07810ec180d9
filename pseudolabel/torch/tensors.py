"""Rows as columns of arrays, and columns as the tensors that models and losses take."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
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
    """Return rows, each the place of one in some columns, as a batch: a tensor (n, ...) of each column whose values
    have one shape, a list of the n values of any other. `more`: further columns."""
    parts: dict[int, Part] = {}
    for number, (columns, at) in enumerate(rows):
        part = parts.setdefault(id(columns), Part(columns, [], []))
        part.there.append(at)
        part.here.append(number)
    alike = {
        name: one for name, one in rows[0][0].items() if _have_one_shape([p.columns[name] for p in parts.values()])
    }
    lists = {name: [columns[name][at] for columns, at in rows] for name in rows[0][0] if name not in alike}
    loose = [(name, value) for name, values in lists.items() for value in _arrays(values)]
    wanted = [Empty(name, (len(rows), *one.shape[1:]), one.dtype) for name, one in {**alike, **more}.items()]
    tensors = iter(empty_tensors([*wanted, *(Empty(name, value.shape, value.dtype) for name, value in loose)]))
    batch: Tensors = dict.fromkeys(rows[0][0])
    for name in alike:
        batch[name] = next(tensors)
        for columns, there, here in parts.values():
            _copy(columns[name], there, batch[name].numpy(), here)
    for name, numbers in more.items():
        batch[name] = next(tensors)
        batch[name].numpy()[:] = numbers
    for name, values in lists.items():
        batch[name] = _filled(values, tensors)
    return batch


def _arrays(value: Any) -> Iterator[np.ndarray]:
    """Yield the arrays and numbers of nested lists."""
    if isinstance(value, list):
        yield from chain.from_iterable(map(_arrays, value))
    elif isinstance(value, np.ndarray | np.generic):
        yield np.asarray(value)


def _filled(value: Any, tensors: Iterator[torch.Tensor]) -> Any:
    """Return nested lists with a tensor from `tensors`, filled, in place of each array and number."""
    if isinstance(value, list):
        return [_filled(one, tensors) for one in value]
    if not isinstance(value, np.ndarray | np.generic):
        return value
    tensor = next(tensors)
    _copy(np.asarray(value)[None], [0], tensor.numpy()[None], [0])
    return tensor


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


class Empty(NamedTuple):
    """A tensor of a batch before it is filled."""

    column: str
    shape: tuple[int, ...]
    type: np.dtype[Any]


def empty_tensors(wanted: Sequence[Empty]) -> list[torch.Tensor]:
    """Return tensors of these shapes and types, in a loader's worker in shared memory.

    Each block of memory costs the training process a message and a file descriptor, so numbers of one type share one.
    The values of a column of media have a block of their own, so that labels that are kept do not keep the images.
    """
    sizes: dict[str, int] = defaultdict(int)  # of the blocks, in bytes
    places = []  # of each tensor: its block, and where in it the tensor begins
    for column, shape, kind in wanted:
        block = column if kind in MEDIA else kind.str
        places.append((block, sizes[block]))
        sizes[block] += -(-math.prod(shape) * kind.itemsize // ALIGNMENT) * ALIGNMENT
    make: Any = torch.UntypedStorage if get_worker_info() is None else torch.UntypedStorage._new_shared
    storages = {block: make(size) for block, size in sizes.items()}
    made = []
    for (_, shape, kind), (block, start) in zip(wanted, places, strict=True):
        strides = [math.prod(shape[axis + 1 :]) for axis in range(len(shape))]
        empty = torch.from_numpy(np.empty(0, kind))  # views of one tensor would share its version
        made.append(empty.set_(storages[block], start // kind.itemsize, shape, strides))
    return made


def _tensor(value: Any) -> Any:
    if isinstance(value, list):
        return [*map(_tensor, value)]
    if isinstance(value, np.ndarray):
        return torch.from_numpy(_stack([value])[0] if _is_image(value) else value)
    return torch.as_tensor(value) if isinstance(value, np.generic) else value
