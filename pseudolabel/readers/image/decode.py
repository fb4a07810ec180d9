"""Decode image files of any format to upright 8-bit RGB, by the same rules for every decoding library."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors
from pseudolabel.readers.image.chroma import even_chroma, even_jpeg, jpeg_sampling, picture_sampling
from pseudolabel.readers.image.jpeg import check_jpeg, decode_jpeg, read_jpeg_header
from pseudolabel.readers.image.orientation import jpeg_orientation, upright, xmp_orientation
from pseudolabel.readers.image.tiff import decode_tiff, read_tiff, refuse_tiff
from pseudolabel.readers.image.tone import BAND_ROWS, check_range, stretch

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF")
DEEP_MODES = ("I", "F")  # prefixes of Pillow's modes for gray of more than 8 bits: I;16, I;16B, I, F


def decode(data: bytes, span: str, max_pixels: int, even: bool = False) -> np.ndarray:
    """Decode a file's bytes to (H, W, 3) uint8 RGB, upright. Detect the format from the content, not from the name.

    - Use the first frame of an animation, the first page of a TIFF, the first image of an MPO.
    - Apply the orientation of EXIF, or else of XMP; ignore what cannot be read. Do not apply colour profiles.
    - Repeat gray and 1-bit in all three channels. Resolve palettes. Convert CMYK and YCCK to RGB as Pillow does.
    - Composite transparent pixels on white.
    - More than 8 bits (integers of 16 and 32 bits, floats): map `span` to 0..255, the same in all colour channels; NaN
      becomes black. AVIF of 10 and 12 bits, and CMYK of 16 bits, are read as 8 bits. TIFF: see `tiff.py`.
    - `even`: where the file has fewer samples of chroma in one direction, reduce the other to as many; see `chroma.py`.
    - Raise `UnusableSample` if any part does not decode. Raise it before memory is allocated if there are more than
      `max_pixels`. Pixels of WebP and of more than 8 bits count twice, those of deep TIFF once for every three bytes if
      that is more: decoding them takes as much more memory.
    """
    header = read_jpeg_header(data)
    if header and header.components in (1, 3):
        _allow(header.width, header.height, max_pixels)
        image = decode_jpeg(data, header)
        if even and not (sampling := jpeg_sampling(header.factors)).even:
            del image  # decoded to find damage; the next line takes as much memory
            with _undisturbed():
                image = even_jpeg(data, sampling)
        if not header.metadata:
            return image
        with _undisturbed():
            return upright(image, jpeg_orientation(header.metadata))
    with _undisturbed(max_pixels if data.startswith(b"GIF8") else None):  # opening a GIF allocates its frame
        page = read_tiff(data)
        if page:
            _allow(*page.extent, max_pixels, page.weight)
            with decoding_errors("cannot decode this TIFF"):
                return upright(decode_tiff(data, page, span), page.orientation)
        picture = _open(data, max_pixels)
        deep = _is_deep_png(picture, data)
        heavy = picture.format == "WEBP" or picture.mode.startswith(DEEP_MODES) or deep
        _allow(*picture.size, max_pixels, 1 + heavy)
        with decoding_errors(f"cannot decode this {picture.format}"):
            if picture.format == "PNG" and not deep:
                picture.load()  # raise what `_orientation` would pass over: it loads PNG
            orientation = _orientation(picture)
            image = _deep_png(data, span) if deep else _pillow(picture, data, span)
            if even and not (sampling := picture_sampling(picture, data)).even:
                image = even_chroma(image, sampling)
        return upright(image, orientation)


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
        times = "twice" if weight == 2 else f"{weight} times"
        counted = f", each counted {times} (WebP, or more than 8 bits per channel)" if weight > 1 else ""
        raise UnusableSample(f"{width} x {height} pixels{counted}, above --max-pixels {max_pixels}")


def _open(data: bytes, max_pixels: int) -> Image.Image:
    """Read only the header."""
    from PIL import Image, UnidentifiedImageError

    with decoding_errors("cannot read the header"):
        try:
            return Image.open(BytesIO(data), formats=FORMATS)
        except UnidentifiedImageError:  # its message only has a memory address
            refuse_tiff(data)
            raise UnusableSample("not an image of a known format, or its header is broken") from None
        except Image.DecompressionBombError:
            raise UnusableSample(f"a frame has too many pixels, above --max-pixels {max_pixels}") from None


def _orientation(picture: Image.Image) -> int:
    """Return the orientation of EXIF, or else of XMP, that is to be applied. To be called before TIFF is loaded.

    To TIFF, Pillow applies that of EXIF itself. It would search XMP for the name, even in comments, so it gets none.
    """
    try:
        if picture.format == "PNG":
            picture.load()  # metadata may follow the pixels
        packets = [picture.info.pop(name, None) for name in ("xmp", "XML:com.adobe.xmp")]
        given = picture.getexif().get(0x0112)
    except Exception:  # EXIF is broken in millions of intact images, in many ways
        return 1
    if given is None:
        return xmp_orientation(packets[0] or packets[1])
    return given if picture.format != "TIFF" else 1


def _is_deep_png(picture: Image.Image, data: bytes) -> bool:
    """Return whether this is colour, or gray with alpha, of 16 bits. Pillow would keep only 8 bits."""
    return picture.format == "PNG" and picture.mode in ("RGB", "RGBA", "LA") and data[24] > 8


def _deep_png(data: bytes, span: str) -> np.ndarray:
    """Decode colours of 16 bits. Apply `span` to the colours only; alpha keeps its scale."""
    import cv2
    from PIL import Image

    deep = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if deep is None:
        raise UnusableSample("truncated or broken")
    image = stretch(deep[..., 2::-1], span)
    if deep.shape[2] == 4:
        image = _array(Image.fromarray(np.dstack([image, (deep[..., 3] >> 8).astype(np.uint8)])))
    check_range(image, deep[..., :3], span)
    return image


def _pillow(picture: Image.Image, data: bytes, span: str) -> np.ndarray:
    """Decode with Pillow, which raises if data is missing."""
    if picture.format == "JPEG":
        check_jpeg(data)
    picture.load()
    clear = picture.info.get("transparency")
    if picture.format == "PNG" and data[24] in (2, 4) and isinstance(clear, int) and picture.mode == "L":
        picture.info["transparency"] = clear * 255 // (2 ** data[24] - 1)  # Pillow scales the pixels, but not this
    values = _array(picture)
    if values.ndim == 3:
        return values
    image = np.repeat(stretch(values, span)[..., None], 3, axis=2)
    image[values == clear] = 255
    check_range(image, values, span)
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
