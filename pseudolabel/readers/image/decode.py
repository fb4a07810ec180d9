"""Decode image files of any format to upright 8-bit RGB, by the same rules for every decoding library."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from struct import unpack_from
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF")
JPEG_TABLES = {0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)}  # regular header markers, except start of frame
DEEP_MODES = ("I", "F")  # prefixes of Pillow's modes for gray of more than 8 bits: I;16, I;16B, I, F
JPEG_END = b"\xff\xd9"  # end marker of a JPEG; cannot occur inside compressed data


def decode(data: bytes, span: str, max_pixels: int) -> np.ndarray:
    """Decode a file's bytes to (H, W, 3) uint8 RGB, upright. Detect the format from the content, not from the name.

    - Use the first frame of an animation, the first page of a TIFF, the first image of an MPO.
    - Apply the EXIF orientation; ignore EXIF that cannot be read. Do not apply colour profiles.
    - Repeat gray and 1-bit in all three channels. Resolve palettes. Convert CMYK and YCCK to RGB as Pillow does.
    - Composite transparent pixels on white.
    - More than 8 bits (integers of 16 and 32 bits, floats): map `span` to 0..255, the same in all colour channels; NaN
      becomes black. AVIF of 10 and 12 bits, and CMYK of 16 bits, are read as 8 bits.
    - Raise `UnusableSample` if any part does not decode. Raise it before memory is allocated if there are more than
      `max_pixels`. Pixels of WebP and of more than 8 bits count twice: decoding them takes twice the memory.
    """
    plain = _plain_jpeg(data)
    if plain and not plain.about:
        _allow(plain.width, plain.height, max_pixels)
        return _jpeg(data, plain)
    with _undisturbed(max_pixels if data.startswith(b"GIF8") else None):  # opening a GIF allocates its frame
        picture = _open(data, max_pixels)
        heavy = picture.format == "WEBP" or picture.mode.startswith(DEEP_MODES) or _is_deep_colour(picture, data)
        _allow(*picture.size, max_pixels, 1 + heavy)
        with decoding_errors(f"cannot decode this {picture.format}"):
            if plain:
                image = _jpeg(data, plain)
            elif _is_deep_colour(picture, data):
                image = _deep_colour(data, span)
            else:
                image = _pillow(picture, span)
        return upright(image, _orientation(picture))


class PlainJpeg(NamedTuple):
    """Header of a regular JPEG, the most common kind of image."""

    width: int
    height: int
    progressive: bool
    about: bool  # there is EXIF or other metadata, which may set an orientation
    start: int  # offset of the start of scan, where the header ends


def _plain_jpeg(data: bytes) -> PlainJpeg | None:
    """Return the header of a regular JPEG (8 bits, 1 or 3 components), None for others; in a tenth of Pillow's time."""
    at, frame, about = 2, (0, 0, 0, 0, 0), False
    while data.startswith(b"\xff\xd8\xff") and at + 10 < len(data):
        marker, length = unpack_from(">HH", data, at)
        if marker == 0xFFDA:  # start of scan
            kind, bits, height, width, components = frame
            whole = bits == 8 and components in (1, 3) and width * height > 0
            return PlainJpeg(width, height, kind == 0xFFC2, about, at) if whole else None
        if marker in (0xFFC0, 0xFFC1, 0xFFC2):  # start of frame: baseline, extended, progressive
            frame = (marker, *unpack_from(">BHHB", data, at + 4))
        elif marker not in JPEG_TABLES:
            return None
        about |= marker == 0xFFE1
        at += 2 + length
    return None


@contextmanager
def _undisturbed(most: int | None = None) -> Iterator[None]:
    """Silence Pillow's warnings and set its pixel limit to `most`. None: no limit, because `_allow` checks the size."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, most
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _allow(width: int, height: int, max_pixels: int, weight: int = 1) -> None:
    """Raise `UnusableSample` if the image has more than `max_pixels`, each of them counted `weight` times."""
    if width * height * weight > max_pixels:
        counted = ", each counted twice (WebP, or more than 8 bits per channel)" if weight == 2 else ""
        raise UnusableSample(f"{width} x {height} pixels{counted}, above --max-pixels {max_pixels}")


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read only the header."""
    from PIL import Image, UnidentifiedImageError

    with decoding_errors("broken header"):
        try:
            return Image.open(BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:  # its message only has a memory address
            raise UnusableSample("not an image of a known format, or its header is broken") from None
        except Image.DecompressionBombError:
            raise UnusableSample(f"a frame has too many pixels, above --max-pixels {max_pixels}") from None


def _orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation that is still to be applied. Decoders of TIFF apply the orientation themselves."""
    try:
        return 1 if picture.format == "TIFF" else int(picture.getexif().get(0x0112, 1))
    except Exception:  # EXIF is broken in millions of intact images, in many ways
        return 1


def _jpeg(data: bytes, plain: PlainJpeg) -> np.ndarray:
    """Decode with OpenCV, in 0.6 of Pillow's time. Check for missing data, for which OpenCV only prints a warning."""
    import cv2

    if data.rfind(JPEG_END, plain.start) < 0:
        raise UnusableSample("truncated JPEG")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    with decoding_errors("broken JPEG"):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise UnusableSample("broken JPEG")
    # OpenCV fills missing data with one colour; a white background also ends like this
    flat = not plain.progressive and (image[-1, -32:] == image[-1, -1]).all()
    if flat and _runs_short(data, data.find(JPEG_END, plain.start)):
        raise UnusableSample("broken JPEG: its data ends before the image is complete")
    return np.asarray(image)


def _runs_short(data: bytes, end: int) -> bool:
    """Return whether bytes inserted before the end marker change the image. In a complete image they do not."""
    from PIL import Image

    def thumbnail(jpeg: bytes) -> np.ndarray:
        picture = Image.open(BytesIO(jpeg), formats=("JPEG",))
        picture.draft(picture.mode, (1, 1))
        return np.asarray(picture)

    with _undisturbed(), decoding_errors("broken JPEG"):
        return not np.array_equal(thumbnail(data), thumbnail(data[:end] + bytes(range(255)) * 8 + data[end:]))


def _is_deep_colour(picture: Image.Image, data: bytes) -> bool:
    """Return whether the image is colour, or gray with alpha, of more than 8 bits. Pillow would keep only 8 bits."""
    if picture.mode not in ("RGB", "RGBA", "LA") or picture.format not in ("PNG", "TIFF"):
        return False
    return max((data[24],) if picture.format == "PNG" else picture.tag_v2.get(258, (8,))) > 8  # type: ignore[attr-defined]


def _deep_colour(data: bytes, span: str) -> np.ndarray:
    """Decode colours of 16 bits. Apply `span` to the colours only; alpha keeps its scale."""
    import cv2
    from PIL import Image

    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None:
        raise UnusableSample("truncated or broken")
    image = stretch(deep[..., 2::-1], span)
    if deep.shape[2] == 3:
        return image
    return _array(Image.fromarray(np.dstack([image, (deep[..., 3] >> 8).astype(np.uint8)])))


def _pillow(picture: Image.Image, span: str) -> np.ndarray:
    """Decode with Pillow, which raises if data is missing."""
    picture.load()
    values = _array(picture)
    if values.ndim == 3:
        return values
    image = np.repeat(stretch(values, span)[..., None], 3, axis=2)
    image[values == picture.info.get("transparency")] = 255
    return image


def _array(picture: Image.Image) -> np.ndarray:
    """Convert a loaded image to (H, W, 3) uint8 RGB; gray of more than 8 bits to an array of its (H, W) values."""
    pixel = np.asarray(_flat(picture.crop((0, 0, 1, 1))))
    out = np.empty((picture.height, picture.width, *pixel.shape[2:]), pixel.dtype)
    for top in range(0, picture.height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, picture.height)
        out[top:bottom] = _flat(picture.crop((0, top, picture.width, bottom)))
    return out


def _flat(picture: Image.Image) -> Image.Image:
    """Convert any 8-bit mode to RGB on white. Return I;16, I and F unchanged, because Pillow would clip them."""
    from PIL import Image

    if picture.mode.startswith(DEEP_MODES):
        return picture
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")


BAND_ROWS = 256  # rows converted at a time, which avoids a second copy of a large image


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Apply an EXIF orientation (1 to 8): (H, W, 3) -> (H, W, 3), or (W, H, 3) from 5 on."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def parse_span(span: str) -> tuple[tuple[float, bool], tuple[float, bool]]:
    """`"0.5%,99.5%"` or `"0,4095"` -> (number, is percentile) of the low and high end. Else raise `ValueError`."""
    number = r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)(%?)\s*"
    match = re.fullmatch(f"{number},{number}", span)
    if not match:
        raise ValueError(span)
    low, high = (float(match[1]), match[2] == "%"), (float(match[3]), match[4] == "%")
    if (low[1] == high[1] and low[0] >= high[0]) or any(share and not 0 <= x <= 100 for x, share in (low, high)):
        raise ValueError(span)
    return low, high


def stretch(values: np.ndarray, span: str) -> np.ndarray:
    """Map `span` of (H, W[, C]) values to 0..255 uint8, clipped. NaN gives 0; with percentiles, constant images too."""
    low, high = _bounds(values, span)
    scale = 255 / (high - low) if high > low else 0.0
    out = np.empty(values.shape, np.uint8)
    with np.errstate(all="ignore"):
        for top in range(0, len(values), BAND_ROWS):
            band = (values[top : top + BAND_ROWS].astype(np.float64) - low) * scale
            out[top : top + BAND_ROWS] = np.nan_to_num(band, nan=0, posinf=255, neginf=0).clip(0, 255).round()
    return out


def _bounds(values: np.ndarray, span: str) -> tuple[float, float]:
    """Return the two values of `span`. Percentiles are computed on a regular grid of at most about 2^20 pixels."""
    step = int(np.ceil(np.sqrt(values.shape[0] * values.shape[1] / 2**20)))
    seen = values[::step, ::step]
    seen = seen[np.isfinite(seen)].astype(np.float64)
    if not seen.size:
        raise UnusableSample("no finite pixel")
    low, high = (float(np.percentile(seen, x)) if share else x for x, share in parse_span(span))
    # percentiles may be equal, for example with a few bright specks on a plain background: use the whole range
    return (low, high) if high > low else (float(seen.min()), float(seen.max()))
