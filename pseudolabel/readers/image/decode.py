"""Any picture file's bytes to upright 8-bit RGB, by one policy, whichever library decodes."""

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
JPEG_TABLES = {0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)}  # markers a regular header has beside its frame
DEEP_MODES = ("I", "F")  # how the modes begin that Pillow has for gray deeper than 8 bit: I;16, I;16B, I, F
JPEG_END = b"\xff\xd9"  # of a JPEG; cannot occur inside its compressed data


def decode(data: bytes, span: str, max_pixels: int) -> np.ndarray:
    """Decode a file's bytes to (H, W, 3) uint8 RGB, upright. Content decides, not the name.

    - The first frame of an animation, the first page of a TIFF, the first picture of an MPO.
    - EXIF orientation is applied; an EXIF block that cannot be read is none. Colour profiles are not applied.
    - Gray and 1-bit fill all three channels; palettes are looked up; CMYK and YCCK become RGB as Pillow converts them.
    - Transparency, of whatever kind, is matted on white.
    - Deeper than 8 bit (integers of 16 and 32 bit, floats): `span` is brought to 0..255, all colour channels alike;
      NaN is black. AVIF of 10 and 12 bit, and CMYK of 16, are read as 8 bit.
    - A file that decodes only in part is `UnusableSample`, and so is one above `max_pixels`, before memory is taken for
      it; pixels of WebP, and those deeper than 8 bit, count twice, for they take twice the memory while decoded.
    """
    plain = _plain_jpeg(data)
    if plain and not plain.about:
        _allow(plain.width, plain.height, max_pixels)
        return _jpeg(data, plain)
    with _undisturbed(max_pixels if data.startswith(b"GIF8") else None):  # opened, a GIF takes memory for its frame
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
    """What the header of the commonest kind of picture says, and where it ends."""

    width: int
    height: int
    progressive: bool
    about: bool  # whether there is EXIF, or whatever else may name an orientation
    start: int


def _plain_jpeg(data: bytes) -> PlainJpeg | None:
    """Read the header of a regular JPEG of 8 bit and one or three components, in a tenth of Pillow's time."""
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
    """Keep Pillow's warnings from the terminal, and its own limit on pixels out of the way of `max_pixels`."""
    from PIL import Image

    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, most
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _allow(width: int, height: int, max_pixels: int, weight: int = 1) -> None:
    """Refuse a picture that is too large to decode: where pixels take twice the memory, they count twice."""
    if width * height * weight > max_pixels:
        counted = ", each counted twice (WebP, or deeper than 8 bit)" if weight == 2 else ""
        raise UnusableSample(f"{width} x {height} pixels{counted}, above --max-pixels {max_pixels}")


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read the header, and nothing after it."""
    from PIL import Image, UnidentifiedImageError

    with decoding_errors("broken header"):
        try:
            return Image.open(BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:  # its own message is a memory address
            raise UnusableSample("not a picture of a known format, or its header is broken") from None
        except Image.DecompressionBombError:
            raise UnusableSample(f"a frame of far more pixels, above --max-pixels {max_pixels}") from None


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation still to be applied: the decoders of TIFF apply it themselves."""
    try:
        return 1 if picture.format == "TIFF" else int(picture.getexif().get(0x0112, 1))
    except Exception:  # EXIF is broken in millions of sound pictures, in every way there is
        return 1


def _jpeg(data: bytes, plain: PlainJpeg) -> np.ndarray:
    """Decode by OpenCV, in 0.6 of Pillow's time. It only prints that data were missing, so that is found out here."""
    import cv2

    if data.rfind(JPEG_END, plain.start) < 0:
        raise UnusableSample("truncated JPEG")
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    with decoding_errors("broken JPEG"):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if image is None:
        raise UnusableSample("broken JPEG")
    flat = (
        not plain.progressive and (image[-1, -32:] == image[-1, -1]).all()
    )  # so ends what is filled up, and a white ground
    if flat and _runs_short(data, data.find(JPEG_END, plain.start)):
        raise UnusableSample("broken JPEG: its data end before the picture does")
    return np.asarray(image)


def _runs_short(data: bytes, end: int) -> bool:
    """Whether bytes put before the end marker change the picture, as they cannot where all of it is there."""
    from PIL import Image

    def thumbnail(jpeg: bytes) -> np.ndarray:
        picture = Image.open(BytesIO(jpeg), formats=("JPEG",))
        picture.draft(picture.mode, (1, 1))
        return np.asarray(picture)

    with _undisturbed(), decoding_errors("broken JPEG"):
        return not np.array_equal(thumbnail(data), thumbnail(data[:end] + bytes(range(255)) * 8 + data[end:]))


def _is_deep_colour(picture: Image.Image, data: bytes) -> bool:
    """Whether these are colours, or gray and alpha, of more than 8 bit, of which Pillow keeps only 8."""
    if picture.mode not in ("RGB", "RGBA", "LA") or picture.format not in ("PNG", "TIFF"):
        return False
    return max((data[24],) if picture.format == "PNG" else picture.tag_v2.get(258, (8,))) > 8  # type: ignore[attr-defined]


def _deep_colour(data: bytes, span: str) -> np.ndarray:
    """Decode colours of 16 bit: `span` goes for the colours, alpha keeps its own scale."""
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
    """Decode by Pillow, which raises where anything is missing."""
    picture.load()
    values = _array(picture)
    if values.ndim == 3:
        return values
    image = np.repeat(stretch(values, span)[..., None], 3, axis=2)
    image[values == picture.info.get("transparency")] = 255
    return image


def _array(picture: Image.Image) -> np.ndarray:
    """A loaded picture as (H, W, 3) uint8 RGB, or as its (H, W) numbers where they are deeper than 8 bit."""
    pixel = np.asarray(_flat(picture.crop((0, 0, 1, 1))))
    out = np.empty((picture.height, picture.width, *pixel.shape[2:]), pixel.dtype)
    for top in range(0, picture.height, BAND_ROWS):
        bottom = min(top + BAND_ROWS, picture.height)
        out[top:bottom] = _flat(picture.crop((0, top, picture.width, bottom)))
    return out


def _flat(picture: Image.Image) -> Image.Image:
    """Bring any mode of 8 bit to RGB on white; leave I;16, I and F, which Pillow would clip."""
    from PIL import Image

    if picture.mode.startswith(DEEP_MODES):
        return picture
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")


BAND_ROWS = 256  # rows converted at a time, so that no second copy of a large picture is held


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an EXIF orientation (1 to 8): (H, W, 3) -> (H, W, 3), or (W, H, 3) from 5 on."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


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
        for top in range(0, len(values), BAND_ROWS):
            band = (values[top : top + BAND_ROWS].astype(np.float64) - low) * scale
            out[top : top + BAND_ROWS] = np.nan_to_num(band, nan=0, posinf=255, neginf=0).clip(0, 255).round()
    return out


def _bounds(values: np.ndarray, span: str) -> tuple[float, float]:
    """The two numbers `span` means for these values: percentiles are those of a regular grid of at most 2^20 pixels."""
    step = int(np.ceil(np.sqrt(values.shape[0] * values.shape[1] / 2**20)))
    seen = values[::step, ::step]
    seen = seen[np.isfinite(seen)].astype(np.float64)
    if not seen.size:
        raise UnusableSample("no finite pixel")
    low, high = (float(np.percentile(seen, x)) if share else x for x, share in parse_span(span))
    return (low, high) if high > low else (float(seen.min()), float(seen.max()))  # a few bright specks on plain ground
