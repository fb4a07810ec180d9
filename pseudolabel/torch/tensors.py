"""Rows as tensors, with the types that models and losses take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

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
Tensors = dict[str, Any]


def as_tensors(
    rows: Sequence[Row] | pa.RecordBatch, columns: Sequence[Column], encoded: bool
) -> RowsOfDicts | RowsOfBatch:
    """Return the rows as tensors. `encoded`: media are bytes."""
    return RowsOfDicts(rows, columns, encoded) if isinstance(rows, Sequence) else RowsOfBatch(rows, columns)


class RowsOfDicts:
    """Rows that are dicts, which become tensors when they are taken."""

    def __init__(self, rows: Sequence[Row], columns: Sequence[Column], encoded: bool) -> None:
        self._rows, self._columns, self._encoded = rows, columns, encoded

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, at: int) -> Tensors:
        row = self._rows[at]
        return {column.name: self._value(column.type, row.get(column.name)) for column in self._columns}

    def _value(self, kind: str, value: Any) -> Any:
        if value is None:
            return None
        if not media.is_media(kind):
            number = KINDS.get(kind.rpartition("<")[2].rstrip(">"))
            if number is not None and kind.startswith("list<list<") and len({*map(len, value)}) > 1:
                return [self._value(kind[5:-1], one) for one in value]
            return value if number is None else torch.from_numpy(np.array(value, number))
        if kind.startswith("list<"):
            every = [self._value(kind[5:-1], one) for one in value]
            alike = every and not self._encoded and len({one.shape for one in every}) == 1
            return torch.stack(every) if alike else every
        if self._encoded:
            return media.encode(kind, value)["bytes"]
        array = media.decode(kind, value)
        return planes(array) if kind == "image" else torch.from_numpy(np.ascontiguousarray(array))


def planes(image: np.ndarray) -> torch.Tensor:
    """(H, W, 3) or (H, W) uint8 -> (3, H, W) or (1, H, W) uint8"""
    import cv2

    if image.ndim == 2:
        return torch.from_numpy(np.ascontiguousarray(image))[None]
    made = np.empty((image.shape[2], *image.shape[:2]), np.uint8)
    cv2.split(np.ascontiguousarray(image), [*made])  # seven times as fast as a transposed copy
    return torch.from_numpy(made)


class RowsOfBatch:
    """Rows of a record batch, whose columns become tensors at once."""

    def __init__(self, batch: pa.RecordBatch, columns: Sequence[Column]) -> None:
        self._count = len(batch)
        self._columns = {column.name: self._column(column, batch.column(column.name)) for column in columns}

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, at: int) -> Tensors:
        return {name: values[at] for name, values in self._columns.items()}

    def _column(self, column: Column, values: pa.Array) -> Any:
        kind = column.type.removeprefix("list<").rstrip(">")
        if kind not in KINDS:
            return values.to_pylist()
        listed = column.type != kind
        flat = values.flatten() if listed else values
        made = torch.from_numpy(np.array(flat.to_numpy(zero_copy_only=False), KINDS[kind]))
        if not listed:
            return made
        ends = np.diff(values.offsets.to_numpy())
        return made.reshape(self._count, -1) if (ends == ends[:1]).all() else torch.split(made, ends.tolist())
