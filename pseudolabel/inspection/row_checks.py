"""Row checks for all tasks: invalid values of a column, and differences from a row that was made again."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from pseudolabel.contracts import Column, Skipped, or_skipped
from pseudolabel.readers.metadata.columns import identical_values
from pseudolabel.tasks.base import media
from pseudolabel.transforms.image import ops

if TYPE_CHECKING:
    import pyarrow as pa

SCALAR_TYPES = ("class", "bool", "int32", "int64", "string")  # types whose values fit into a message
PNG_MAGIC = b"\x89PNG"

# --- invalid values --------------------------------------------------------------------------------------------------


def invalid_values(columns: Sequence[Column], copies: int, rows: pa.RecordBatch) -> list[str]:
    """Return the first invalid value of each row, or "". Invalid values: null at any depth, NaN and infinity, a class
    or copy out of range, an image or audio that cannot be decoded, a box without a pixel."""
    found = [""] * len(rows)
    for column in columns:
        for row, reason in _odd(column, copies, rows.column(column.name)):
            found[row] = found[row] or f"`{column.name}` {reason}"
    return found


def _odd(column: Column, copies: int, values: pa.Array) -> Iterator[tuple[int, str]]:
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, of = column.type, np.arange(len(values))  # `of`: the row index of each value
    while True:
        yield from ((row, "is null") for row in of[~np.asarray(values.is_valid())].tolist())
        if not pa.types.is_list(values.type):
            break
        if column.name in ("box", "boxes") and not pa.types.is_list(values.type.value_type):  # all tasks' box columns
            yield from _boxes(values, of)
        of, values, kind = of[np.asarray(pc.list_parent_indices(values))], pc.list_flatten(values), kind[5:-1]
    if kind == "image" or kind.startswith("audio<"):
        for row, value in zip(of.tolist(), values, strict=True):  # one at a time: an image may be large
            told = or_skipped(partial(media.decode, kind, value.as_py())) if value.is_valid else None  # null: see above
            if isinstance(told, Skipped):
                yield row, told.reason
    elif kind.startswith("float"):
        numbers = np.asarray(values.to_numpy(zero_copy_only=False))
        yield from ((row, "is not a finite number") for row in of[~np.isfinite(numbers)].tolist())
    elif most := copies if column.name == "copy" else len(column.names):
        for row, value in zip(of.tolist(), values.to_pylist(), strict=True):
            if value is not None and not 0 <= value < most:
                yield row, f"is {value}, out of range 0 to {most - 1}"


def _boxes(values: pa.Array, of: np.ndarray) -> Iterator[tuple[int, str]]:
    """Yield boxes that are not [left, top, right, bottom] with left < right and top < bottom."""
    for row, box in zip(of.tolist(), values.to_pylist(), strict=True):
        if box is not None and None not in box and not (len(box) == 4 and box[0] < box[2] and box[1] < box[3]):
            yield row, f"has {box}, which is not a box [left, top, right, bottom]"


# --- differences -----------------------------------------------------------------------------------------------------


def row_differences(
    columns: Sequence[Column], rows: pa.RecordBatch, made: pa.RecordBatch, exact: bool
) -> list[str | None]:
    """Return how each row differs from the row made again, or None. `exact`: same packages, so equal bytes."""
    found: list[str | None] = [None] * len(rows)
    for column in columns:
        stored, again = rows[column.name], made[column.name]
        if stored.equals(again):
            continue
        for i, (one, other) in enumerate(zip(stored.to_pylist(), again.to_pylist(), strict=True)):
            kept = column.role == "kept"  # copied from the source, so bit-identical
            if found[i] is None and not (
                identical_values(one, other) if kept else values_equal(column.type, one, other, exact)
            ):
                plain = kept or column.type in SCALAR_TYPES
                told = f"{one!r}; its source gives {other!r}" if plain else "not what its source gives"
                found[i] = f"`{column.name}` is {told}"
    return found


def values_equal(kind: str, one: Any, other: Any, exact: bool) -> bool:
    """Return whether two values of a column's type are equal: floats within 1e-4, media as below, others exactly.

    `exact` (same packages): media have equal bytes. Otherwise their decoded values are compared: FLAC and PNG, which
    are lossless, have equal samples and pixels; JPEG images are equal up to the loss of JPEG.
    """
    if one == other or one is None or other is None:
        return bool(one == other)
    if kind.startswith("list<"):
        return len(one) == len(other) and all(
            values_equal(kind[5:-1], *pair, exact) for pair in zip(one, other, strict=True)
        )
    if kind == "image" or kind.startswith("audio<"):
        alike = not exact and one["path"] == other["path"]
        return alike and or_skipped(partial(_same_media, kind, one, other)) is True
    return kind.startswith("float") and math.isclose(one, other, rel_tol=1e-4, abs_tol=1e-4)


def _same_media(kind: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    lossless = kind != "image" or any((value["bytes"] or b"").startswith(PNG_MAGIC) for value in (one, other))
    alike = np.array_equal if lossless else ops.equal_up_to_jpeg
    return alike(media.decode(kind, one), media.decode(kind, other))
