"""Media of rows, and boxes in them. Tasks make arrays; labelers encode them, or leave them as they are for a loader.

Tasks count boxes in pixels of the decoded image, which may be reduced; rows count in the source's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import Column
from pseudolabel.readers.image.reduction import ReducedImage
from pseudolabel.transforms.audio import codec as audio_codec
from pseudolabel.transforms.image import codec

BOX_COLUMNS = ("box", "boxes")


class Encoded(NamedTuple):
    """An image or a sound that is already encoded: in the source, or because the label was computed from its bytes."""

    array: np.ndarray  # decoded
    encoded: bytes


def is_media(kind: str) -> bool:
    """Return whether a column type is of images or sounds, or of lists of them."""
    return kind.removesuffix(">" * kind.count("list<")).rpartition("list<")[2].startswith(("image", "audio<"))


def encode_media(columns: Sequence[Column], row: dict[str, Any]) -> dict[str, Any]:
    """Return the row with the values of its media columns encoded."""
    return row | {c.name: encode(c.type, row[c.name]) for c in columns if is_media(c.type) and c.name in row}


def encode(kind: str, value: Any) -> Any:
    """Encode `(H, W, 3)` uint8 as JPEG, `(H, W)` uint8 as PNG, `(n,)` int16 as FLAC; of a list, each value.

    Return encoded media unchanged.
    """
    if kind.startswith("list<"):
        return [encode(kind[5:-1], one) for one in value]
    if isinstance(value, Encoded):
        return codec.media(value.encoded)
    if not isinstance(value, np.ndarray):
        return value
    if kind == "image":
        return codec.media(codec.encode_jpeg(value) if value.ndim == 3 else codec.encode_png(value))
    return codec.media(audio_codec.encode_flac(value, int(kind[6:-1])))


def decode(kind: str, value: Any) -> np.ndarray:
    """Return the array of a value of any of these kinds: an array, `Encoded`, or stored media."""
    if isinstance(value, Encoded):
        return value.array
    if isinstance(value, np.ndarray):
        return value
    return codec.decode_stored(value) if kind == "image" else audio_codec.decode_flac(value)[0]


def scale_boxes(row: dict[str, Any], image: Any, by: Callable[[Any, int], Any]) -> dict[str, Any]:
    """Scale boxes by the factor of a reduced image: `mul` to pixels of the source, `floordiv` to pixels of the image.

    Return the row of any other sample as it is.
    """
    if not isinstance(image, ReducedImage):
        return row
    return {**row, **{name: by(np.array(row[name]), image.factor).tolist() for name in BOX_COLUMNS if name in row}}
