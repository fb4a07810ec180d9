"""Decode image files of any format to upright 8-bit RGB, by the same rules for every decoding library."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors
from pseudolabel.readers.dynamic_range import require_standard_range, wide_range
from pseudolabel.readers.image.chroma import even_chroma, jpeg_sampling, picture_sampling
from pseudolabel.readers.image.jpeg import (
    JPEG_END,
    JPEG_START,
    JpegHeader,
    check_jpeg,
    decode_jpeg,
    read_jpeg_header,
    without_conversion,
)
from pseudolabel.readers.image.orientation import jpeg_orientation, upright, xmp_orientation
from pseudolabel.readers.image.tiff import decode_tiff
from pseudolabel.readers.image.tiff_header import JPEG, read_tiff, refuse_tiff
from pseudolabel.readers.image.tone import BAND_ROWS, check_range, stretch

if TYPE_CHECKING:
    from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "AVIF")
COMPRESSION, COLOR_MAP, JPEG_TABLES = 259, 320, 347  # tags of TIFF
NCLX = re.compile(rb"colrnclx(..)(..)", re.DOTALL)  # of AVIF: primaries and transfer, two bytes each
DEEP_MODES = ("I", "F")  # prefixes of Pillow's modes for gray of more than 8 bits: I;16, I;16B, I, F


def decode(data: bytes, span: str, max_pixels: int, even: bool = False, factor: int = 1) -> np.ndarray:
    """Decode a file's bytes to (H, W, 3) uint8 RGB, upright. Detect the format from the content, not from the name.

    - Use the first frame of an animation, the first page of a TIFF, the first image of an MPO.
    - Apply the orientation of EXIF, or else of XMP; ignore what cannot be read. Do not apply colour profiles.
    - Repeat gray and 1-bit in all three channels. Resolve palettes. Convert CMYK and YCCK to RGB as Pillow does.
    - Composite transparent pixels on white. Pixels that the first frame of an animation does not cover are white too.
    - Refuse high dynamic range and wide gamut where PNG (cICP) or AVIF says it.
    - More than 8 bits (integers of 16 and 32 bits, floats): map `span` to 0..255, the same in all colour channels; NaN
      becomes black. AVIF of 10 and 12 bits, and CMYK of 16 bits, are read as 8 bits. TIFF: see `tiff_header.py`.
    - `even`: where the file has fewer samples of chroma in one direction, reduce the other to as many; see `chroma.py`.
    - `factor`: decode a JPEG at 1 / factor of its size; see `reduction.py`. `max_pixels` counts those of the source.
    - Raise `UnusableSample` if any part does not decode. Raise it before memory is allocated if there are more than
      `max_pixels`. Pixels of WebP and of more than 8 bits count twice, those of deep TIFF once for every three bytes if
      that is more: decoding them takes that many times the memory.
    """
    header = read_jpeg_header(data)
    if header and header.components in (1, 3):
        _allow(header.width, header.height, max_pixels)
        return _decode_regular_jpeg(data, header, even, factor)
    with _pillow_limits(max_pixels if data.startswith(b"GIF8") else None):  # opening a GIF allocates its frame
        page = read_tiff(data)
        if page:
            _allow(*page.extent, max_pixels, page.weight)
            with decoding_errors("cannot decode this TIFF"):
                return upright(decode_tiff(data, page, span), page.orientation)
        picture = _open(data, max_pixels)
        # Pillow keeps only 8 of the 16 bits of a PNG in colour, or in gray with alpha
        deep = picture.format == "PNG" and picture.mode in ("RGB", "RGBA", "LA") and data[24] > 8
        heavy = picture.format == "WEBP" or picture.mode.startswith(DEEP_MODES) or deep
        _allow(*picture.size, max_pixels, 1 + heavy)
        if picture.format in ("PNG", "AVIF"):
            require_standard_range(*(_png_colours(data) if picture.format == "PNG" else _avif_colours(data)))
        with decoding_errors(f"cannot decode this {picture.format}"):
            if picture.format == "PNG" and not deep:
                picture.load()  # `_orientation` loads PNG too, but ignores errors
            orientation = _orientation(picture)
            image = _deep_png(data, span) if deep else _pillow(picture, data, span)
            if even and not (sampling := picture_sampling(picture, data)).even:
                image = even_chroma(image, sampling)
        return upright(image, orientation)


def _decode_regular_jpeg(data: bytes, header: JpegHeader, even: bool, factor: int) -> np.ndarray:
    """Decode a JPEG in gray or in colours of three components. See `decode`."""
    if even and not (sampling := jpeg_sampling(header.factors)).even:
        raw = without_conversion(data)
        at = header.start + len(raw) - len(data)
        planes = decode_jpeg(raw, header._replace(start=at), factor)
        image = even_chroma(planes, sampling._replace(smooth=sampling.smooth and factor < 8), ycc=True)
    else:
        image = decode_jpeg(data, header, factor)
    if not header.metadata:
        return image
    with _pillow_limits():
        return upright(image, jpeg_orientation(header.metadata))


@contextmanager
def _pillow_limits(most: int | None = None) -> Iterator[None]:
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


def _png_colours(data: bytes) -> tuple[int, int]:
    """Return transfer and primaries, the codes of ITU-T H.273. 2: the file does not say it."""
    at = data.find(b"\0\0\0\4cICP", 0, data.find(b"IDAT"))
    return (data[at + 9], data[at + 8]) if at > 0 else (2, 2)


def _avif_colours(data: bytes) -> tuple[int, int]:
    """Return transfer and primaries, by the boxes of the file or, if these do not decide it, by libav.

    libav decodes the whole image. It is used if only the AV1 data has the codes, or if a box has codes of high dynamic
    range or wide gamut: that box may belong to another image of the file, such as a gain map.
    """
    import av

    codes = [(int.from_bytes(code[1], "big"), int.from_bytes(code[0], "big")) for code in NCLX.findall(data)]
    if codes and not any(wide_range(*code) for code in codes):
        return codes[0]
    try:
        with av.open(BytesIO(data)) as container:
            image = container.streams.best("video").codec_context
            return int(image.color_trc), int(image.color_primaries)
    except Exception:  # a kind of AVIF that libav does not read
        return codes[0] if codes else (2, 2)


def _first_frame(picture: Image.Image, data: bytes) -> tuple[int, int, int, int] | None:
    """Return left, top, right and bottom of an animation's first frame. Decoders fill the rest in different ways."""
    from PIL.GifImagePlugin import GifImageFile

    if isinstance(picture, GifImageFile):
        return picture.tile[0][1]  # which loading clears
    at = data.find(b"ANMF") if picture.format == "WEBP" and data[12:16] == b"VP8X" and data[20] & 2 else -1
    if at < 0:
        return None
    left, top, width, height = (int.from_bytes(data[i : i + 3], "little") for i in range(at + 8, at + 20, 3))
    return 2 * left, 2 * top, 2 * left + width + 1, 2 * top + height + 1


def _orientation(picture: Image.Image) -> int:
    """Return the orientation of EXIF, or else of XMP, that is still to be applied. Call this before TIFF is loaded.

    Pillow itself applies the EXIF orientation of TIFF. Remove XMP: Pillow would search it, even its comments.
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
    from PIL import ImagePalette
    from PIL.TiffImagePlugin import TiffImageFile

    if picture.format == "JPEG":
        check_jpeg(data)
    frame = _first_frame(picture, data)
    tags = picture.tag_v2 if isinstance(picture, TiffImageFile) else {}
    if tags and picture.mode in ("P", "PA") and max(tags[COLOR_MAP]) < 256:
        picture.palette = ImagePalette.raw("RGB;L", bytes(tags[COLOR_MAP]))  # of 8 bits instead of 16, as in libtiff
    picture.load()
    if tags.get(COMPRESSION) == JPEG:  # only after `load`: libtiff refuses strips larger than the image
        tables = tags.get(JPEG_TABLES, JPEG_START).removesuffix(JPEG_END)
        places = (324, 325) if 324 in tags else (273, 279)  # of tiles, of strips
        for start, size in zip(*(tags[place] for place in places), strict=False):
            check_jpeg(tables + data[start + len(JPEG_START) : start + size])
    clear = picture.info.get("transparency")
    if picture.format == "PNG" and data[24] in (2, 4) and isinstance(clear, int) and picture.mode == "L":
        picture.info["transparency"] = clear * 255 // (2 ** data[24] - 1)  # Pillow scales only the pixels
    values = _array(picture)
    if frame:
        left, top, right, bottom = frame
        values[:top] = values[bottom:] = values[:, :left] = values[:, right:] = 255
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
