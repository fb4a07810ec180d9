"""Codec for stored images: arrays to JPEG and PNG and back, and values of media columns."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from pseudolabel.contracts import UnusableSample

MAX_STORED_PIXELS = 2**27  # limit for a stored image; 400 MB when decoded


def image_size(encoded: bytes) -> tuple[int, int]:
    """Return (width, height) from the header of an image. Raise `UnusableSample` for a damaged header."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about large images; only the header is read
            return Image.open(BytesIO(encoded)).size
    except Exception as fault:  # the decoder reads only these bytes, so the input is at fault
        raise UnusableSample("holds an image that cannot be decoded") from fault


def decode_stored(media: Mapping[str, Any]) -> np.ndarray:
    """Decode a value of a media column to (H, W, 3) uint8 RGB. Raise `UnusableSample` if damaged or too large."""
    import cv2

    encoded = media["bytes"] or b""
    width, height = image_size(encoded)
    if width * height > MAX_STORED_PIXELS:  # a few bytes may claim more pixels than fit into memory
        raise UnusableSample(f"holds an image of {width} x {height} pixels, larger than any image that a task writes")
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UnusableSample("holds an image that cannot be decoded")
    return np.asarray(image)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """Encode (H, W, 3) uint8 RGB as JPEG without chroma subsampling (4:4:4)."""
    import cv2

    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    return _encode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality, *sampling))


def encode_png(image: np.ndarray) -> bytes:
    """Encode (H, W) uint8 as gray PNG, without loss."""
    return _encode(".png", image)


def _encode(kind: str, image: np.ndarray, options: Sequence[int] = ()) -> bytes:
    """Raise `ValueError` if OpenCV reports that it wrote nothing, e.g. for an image too large for the codec."""
    import cv2

    done, encoded = cv2.imencode(kind, image, options)
    if not done:
        raise ValueError(f"{image.shape[1]} x {image.shape[0]} pixels cannot be encoded as {kind}")
    return bytes(encoded.tobytes())


def media(encoded: bytes) -> dict[str, bytes | None]:
    """Return encoded bytes as a value of a media column."""
    return {"bytes": encoded, "path": None}
