"""Pictures as arrays: (H, W, 3) uint8 RGB, and the few operations that tasks share."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from pseudolabel.sample import Unusable

LOST = 12.0  # of 255: what JPEG takes from a place of 8 x 8 pixels at q95, at most, with room for another codec
LOOSE = 12.0  # the mean of the same, of thumbnails of one place that were made in two ways
LARGEST = 2**27  # pixels of a picture that is stored; 400 MB when decoded
LUMA = np.array([0.299, 0.587, 0.114], np.float32)
BAND = 256  # rows converted at a time, so that no second copy of a large picture is held


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8): (H, W, 3) -> (H, W, 3), or (W, H, 3) from 5 on."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def mirrored(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) -> (H, W, 3), left and right swapped."""
    import cv2

    return np.asarray(cv2.flip(image, 1))  # a view of negative strides is copied pixel by pixel, at 40 times the cost


def turned(image: np.ndarray, quarters: int) -> np.ndarray:
    """(H, W, 3) -> the same counter-clockwise by 0 to 3 quarters of a circle."""
    import cv2

    codes = (cv2.ROTATE_90_COUNTERCLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_CLOCKWISE)
    return np.asarray(cv2.rotate(image, codes[quarters - 1])) if quarters else image


def resize(image: np.ndarray, height: int, width: int, cubic: bool = False) -> np.ndarray:
    """(H, W, 3) -> (height, width, 3): shrunk by a whole number with area averaging, then bilinear for the rest.

    Where it is enlarged, and `cubic`, it is bicubic.

    Averaging whole blocks keeps aliasing out at a fraction of a decode's time; of fractions of pixels it costs more.
    """
    import cv2

    down, across = image.shape[0] // height, image.shape[1] // width
    if down > 1 or across > 1:
        size = (image.shape[1] // max(across, 1), image.shape[0] // max(down, 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    enlarged = height > image.shape[0] or width > image.shape[1]
    rest = cv2.INTER_CUBIC if cubic and enlarged else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, (width, height), interpolation=rest))


def dhash(image: np.ndarray) -> tuple[int, int]:
    """(H, W, 3) -> 64 bits of which few change with size, codec or brightness; and those of the picture mirrored.

    Is each cell of a 9 x 8 thumbnail brighter than the one to its right? (Krawetz 2013, "Kind of like that".)
    """
    import cv2

    some = cv2.cvtColor(cv2.resize(image, (9 * 16, 8 * 16), interpolation=cv2.INTER_LINEAR), cv2.COLOR_RGB2GRAY)
    cells = cv2.resize(some, (9, 8), interpolation=cv2.INTER_AREA)  # of 16 x 16 places each; of all, six times as slow
    brighter = (cells[:, :-1] > cells[:, 1:], cells[:, :0:-1] > cells[:, -2::-1])
    one, mirrored = (int.from_bytes(np.packbits(bits).tobytes(), "big") for bits in brighter)
    return one, mirrored


def size_of(encoded: bytes) -> tuple[int, int]:
    """The bytes of a picture -> its width and height, by its header alone. Raises `Unusable` where it has none."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a large picture; it is not decoded
            return Image.open(BytesIO(encoded)).size
    except Exception as fault:  # whatever the foreign decoder raises: these bytes are all it touches
        raise Unusable("holds a picture that cannot be decoded") from fault


def decoded(media: Mapping[str, Any]) -> np.ndarray:
    """What a media column holds -> (H, W, 3) uint8 RGB. Raises `Unusable` where it is no picture, or an absurd one."""
    import cv2

    encoded = media["bytes"] or b""
    width, height = size_of(encoded)
    if width * height > LARGEST:  # a few bytes may claim more pixels than there is memory for
        raise Unusable(f"holds a picture of {width} x {height} pixels, larger than any that is made")
    image = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise Unusable("holds a picture that cannot be decoded")
    return np.asarray(image)


def alike(one: np.ndarray, other: np.ndarray) -> bool:
    """(H, W, 3) twice: whether they are one picture, up to what JPEG loses: in every place of 8 x 8 pixels."""
    import cv2

    if one.shape != other.shape:
        return False
    apart = cv2.absdiff(one, other).astype(np.float32).mean(2)
    return bool(cv2.blur(apart, (8, 8)).max() <= LOST)


def resembles(one: np.ndarray, other: np.ndarray) -> bool:
    """(H, W, 3 or 1), of any sizes: whether thumbnails of 4 x 4 of their lightness are about the same."""
    import cv2

    gray = [image @ LUMA if image.shape[2] == 3 else image[..., 0] for image in (one, other)]
    small = [cv2.resize(image.astype(np.float32), (4, 4), interpolation=cv2.INTER_AREA) for image in gray]
    return bool(np.abs(small[0] - small[1]).mean() <= LOOSE)


def within(image: np.ndarray, box: Sequence[int]) -> np.ndarray:
    """(H, W, 3) and left, top, right, bottom -> the part of it in there."""
    left, top, right, bottom = box
    return image[top:bottom, left:right]


def cut(image: np.ndarray, box: Sequence[float], side: int = 128) -> np.ndarray:
    """(H, W, 3) and left, top, right, bottom, fractions of pixels as well -> (side, side, 3): what lies in there."""
    import cv2

    left, top, right, bottom = box
    steps = (np.arange(side, dtype=np.float32) + 0.5) / side
    x, y = np.meshgrid(left + steps * (right - left) - 0.5, top + steps * (bottom - top) - 0.5)
    return np.asarray(
        cv2.remap(image, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
    )


def encode_jpeg(image: np.ndarray, quality: int = 95) -> bytes:
    """(H, W, 3) uint8 RGB -> the bytes of a JPEG that keeps colour at full resolution (4:4:4)."""
    return encode_tiles(image, [(0, 0)], max(image.shape[:2]), quality)[0]


def encode_tiles(image: np.ndarray, corners: Sequence[Sequence[int]], side: int, quality: int = 95) -> list[bytes]:
    """(H, W, 3) uint8 RGB and k (left, top) -> the bytes of k JPEGs (4:4:4) of the squares that begin there."""
    import cv2

    sampling = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    options, bgr = (cv2.IMWRITE_JPEG_QUALITY, quality, *sampling), cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    return [_encoded(".jpg", bgr[y : y + side, x : x + side], options) for x, y in corners]


def decode_jpeg(encoded: bytes) -> np.ndarray:
    """The bytes of a JPEG of ours -> (H, W, 3) uint8 RGB, as whoever reads the row sees it."""
    import cv2

    return np.asarray(cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))


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


def parse_span(span: str) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """`"0.5%,99.5%"` or `"0,4095"` -> for each end its number, and whether it is a percentile. Raises `ValueError`."""
    number = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(%?)\s*"
    match = re.fullmatch(f"{number},{number}", span)
    if not match:
        raise ValueError(span)
    low, high = (float(match[1]), match[2] == "%"), (float(match[3]), match[4] == "%")
    if (low[1] == high[1] and low[0] >= high[0]) or any(share and not 0 <= x <= 100 for x, share in (low, high)):
        raise ValueError(span)
    return low, high


def stretch(values: np.ndarray, span: str) -> np.ndarray:
    """Bring `span` of (H, W) or (H, W, C) numbers to 0..255 uint8, clipped. NaN and a constant picture are 0."""
    low, high = _bounds(values, span)
    scale = 255 / (high - low) if high > low else 0.0
    out = np.empty(values.shape, np.uint8)
    with np.errstate(all="ignore"):
        for top in range(0, len(values), BAND):
            band = (values[top : top + BAND].astype(np.float64) - low) * scale
            out[top : top + BAND] = np.nan_to_num(band, nan=0, posinf=255, neginf=0).clip(0, 255).round()
    return out


def _bounds(values: np.ndarray, span: str) -> tuple[float, float]:
    """The two numbers `span` means for these values: percentiles are those of a regular grid of at most 2^20 pixels."""
    step = int(np.ceil(np.sqrt(values.shape[0] * values.shape[1] / 2**20)))
    seen = values[::step, ::step]
    seen = seen[np.isfinite(seen)].astype(np.float64)
    if not seen.size:
        raise Unusable("no finite pixel")
    low, high = (float(np.percentile(seen, x)) if share else x for x, share in parse_span(span))
    return (low, high) if high > low else (float(seen.min()), float(seen.max()))  # a few bright specks on plain ground
