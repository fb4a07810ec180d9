"""Encoded pictures: JPEG and PNG to and from arrays, and media columns of them."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from pseudolabel.contracts import UnusableSample

MAX_STORED_PIXELS = 2**27  # pixels of a picture that is stored; 400 MB when decoded


def image_size(encoded: bytes) -> tuple[int, int]:
    """The bytes of a picture -> its width and height, by its header alone.

    Raises `UnusableSample` where it has none.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large picture; it is not decoded
            return Image.open(BytesIO(encoded)).size
    except Exception as fault:  # whatever the foreign decoder raises: these bytes are all it touches
        raise UnusableSample("holds a picture that cannot be decoded") from fault


def decode_stored(media: Mapping[str, Any]) -> np.ndarray:
    """What a media column holds -> (H, W, 3) uint8 RGB.

    Raises `UnusableSample` where it is no picture, or an absurd one.
    """
    import cv2

    encoded = media["bytes"] or b""
    width, height = image_size(encoded)
    if width * height > MAX_STORED_PIXELS:  # a few bytes may claim more pixels than there is memory for
        raise UnusableSample(f"holds a picture of {width} x {height} pixels, larger than any that is made")
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise UnusableSample("holds a picture that cannot be decoded")
    return np.asarray(image)


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 RGB -> the bytes of a JPEG that keeps colour at full resolution (4:4:4)."""
    return encode_tiles(image, [(0, 0)], max(image.shape[:2]), quality)[0]


def encode_tiles(image: np.ndarray, corners: Sequence[Sequence[int]], side: int, quality: int = 95) -> list[bytes]:
    """(H, W, 3) uint8 RGB and k (left, top) -> the bytes of k JPEGs (4:4:4) of the squares that begin there."""
    import cv2

    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options, bgr = (cv2.IMWRITE_JPEG_QUALITY, quality, *sampling), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return [_encoded(".jpg", bgr[y : y + side, x : x + side], options) for x, y in corners]


def encode_png(image: np.ndarray) -> bytes:
    """(H, W) uint8 -> the bytes of a gray PNG: nothing is lost."""
    return _encoded(".png", image)


def _encoded(kind: str, image: np.ndarray, options: Sequence[int] = ()) -> bytes:
    """OpenCV only says so where it wrote nothing, as of pictures that are too large for the codec."""
    import cv2

    done, encoded = cv2.imencode(kind, image, options)
    if not done:
        raise ValueError(f"{image.shape[1]} x {image.shape[0]} pixels cannot be written as {kind}")
    return bytes(encoded)


def media(encoded: bytes) -> dict[str, bytes | None]:
    """Encoded bytes as a media column holds them."""
    return {"bytes": encoded, "path": None}


def jpeg(image: np.ndarray) -> dict[str, bytes | None]:
    """(H, W, 3) uint8 RGB -> a JPEG, as a media column holds it."""
    return media(encode_jpeg(image))
