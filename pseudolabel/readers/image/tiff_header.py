"""TIFF headers: read the first page, and refuse a layout that is not listed here, with a message that names it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from io import BytesIO
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors
from pseudolabel.readers.image.orientation import xmp_orientation

if TYPE_CHECKING:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # little and big endian, 32-bit and 64-bit offsets
KINDS = {1: "u", 2: "i", 3: "f", 4: "u"}  # SampleFormat -> NumPy's kind; 4 is "undefined"
KIND_NAMES = {"u": "integers", "i": "signed integers", "f": "floats"}
TYPES = ("u8", "u16", "u32", "i16", "i32", "f16", "f32", "f64")
PLAIN, DEFLATE, LIBTIFF = (1,), (8, 32946), (5, 32773, 34925, 50000)  # libtiff: LZW, PackBits, LZMA, Zstandard
JPEG, WEBP = 7, 50001  # JPEG is read if of 8 bits; WebP is not: libtiff in Pillow's wheels lacks it
PREDICTED = (*DEFLATE, 5, 34925, 50000)  # compressions that may have a predictor
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, CMYK = 0, 1, 2, 5  # PhotometricInterpretation
CHANNELS = {WHITE_IS_ZERO: 1, BLACK_IS_ZERO: 1, RGB: 3, CMYK: 4}  # without alpha and other bands
PREMULTIPLIED, STRAIGHT = 1, 2  # ExtraSamples: kinds of alpha; 0 is a band of unknown meaning
Blocks = tuple[int, int, bool, tuple[int, int], tuple[int, ...], tuple[int, ...]]  # the first fields of `TiffPage`


class TiffPage(NamedTuple):
    """Header of the first page."""

    width: int
    height: int
    tiled: bool  # blocks are tiles, which are whole at the edges; else strips
    block: tuple[int, int]  # rows and columns
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    samples: int  # per pixel
    colour: int  # PhotometricInterpretation
    alpha: int  # PREMULTIPLIED, STRAIGHT, or 0 if there is none
    opacity: int  # index of the channel of alpha
    dtype: np.dtype[np.generic]  # of a sample, in the byte order of the file
    packed: bool  # samples of 12 bits, two in three bytes
    separate: bool  # one plane after another, not pixel by pixel
    compression: int
    predictor: int
    orientation: int

    @property
    def weight(self) -> int:
        """Return how often a pixel counts against `max_pixels`: if deep, once per three bytes, and at least twice."""
        return max(2, ceil(self.samples * self.dtype.itemsize / 3)) if self.dtype.itemsize > 1 else 1

    @property
    def extent(self) -> tuple[int, int]:
        """Return the width and height that memory is needed for: a tile may be larger than the image."""
        return max(self.width, self.block[1]), max(self.height, self.block[0])


class Layout(NamedTuple):
    """What the header says of the samples."""

    bits: set[int]
    kinds: set[str]  # as in `KINDS`, or "?"
    samples: int  # per pixel
    own: int  # of them, without alpha and other bands
    colour: int
    extra: tuple[int, ...]  # ExtraSamples
    alpha: int  # as in `TiffPage`
    planes: int  # PlanarConfiguration: 1 pixel by pixel, 2 one plane after another
    compression: int
    listed: bool  # blocks of this compression can be decoded here
    predictor: int
    native: bool  # Pillow decodes it


def read_tiff(data: bytes) -> TiffPage | None:
    """Read the header. None: no TIFF, or one that Pillow decodes. Refuse a layout that is not listed."""
    if not data.startswith(MAGIC):
        return None
    _want(not data.startswith(b"MM\0+"), "64-bit offsets in big-endian order")  # Pillow reads these offsets wrongly
    with decoding_errors("broken header"):
        directory = _directory(data)
        tag = partial(_tag, directory)
        layout = _layout(directory)
        bits, kinds, native = layout.bits, layout.kinds, layout.native
        _want(not native or layout.compression != WEBP, f"{max(bits)}-bit integers with compression {WEBP}")
        _want(native or len(bits) == len(kinds) == 1, "channels of different types")
        if native and not (layout.listed or layout.compression == JPEG):
            return None
        blocks = _blocks(data, directory, layout)
        if native:
            return None
        fill, inks = tag(266, 1)[0], tag(332, 1)[0]
        orientation = tag(274, xmp_orientation(directory.get(700)))[0]
    _check_layout(layout, fill, inks)
    (kind,), (depth,), alpha = kinds, bits, layout.alpha
    dtype = np.dtype(f"{'>' if data[:1] == b'M' else '<'}{kind}{2 if depth == 12 else depth // 8}")
    return TiffPage(
        *blocks, layout.samples, layout.colour, alpha, layout.own + layout.extra.index(alpha) if alpha else 0, dtype,
        depth == 12, layout.planes == 2 and layout.samples > 1, layout.compression, layout.predictor, orientation,
    )  # fmt: skip


def _layout(directory: ImageFileDirectory_v2) -> Layout:
    tag = partial(_tag, directory)
    bits, kinds, samples = set(tag(258, 1)), {KINDS.get(kind, "?") for kind in tag(339, 1)}, tag(277, 1)[0]
    (colour,) = tag(262, BLACK_IS_ZERO if kinds == {"f"} and samples == 1 else -1)  # the default of gray floats
    (compression,), (predictor,), (planes,), extra = tag(259, 1), tag(317, 1), tag(284, 1), tag(338)
    own = CHANNELS.get(colour, samples)
    listed = compression in (*PLAIN, *DEFLATE, *LIBTIFF)
    beside = bits == {8} and samples > own and (planes == 2 or own == 1 or samples > own + 1)
    native = kinds == {"u"} and max(bits) <= 8 and not (beside and listed)
    alpha = next((kind for kind in extra if kind in (PREMULTIPLIED, STRAIGHT)), 0)
    return Layout(
        bits, kinds, samples, own, colour, extra, alpha, planes, compression, listed, predictor, native
    )  # fmt: skip


def _blocks(data: bytes, directory: ImageFileDirectory_v2, layout: Layout) -> Blocks:
    """Return the first fields of `TiffPage`. Raise `UnusableSample` if a strip or tile is missing or too short."""
    tag = partial(_tag, directory)
    (width,), (height,) = tag(256, 0), tag(257, 0)
    tiled, planes = 322 in directory, layout.samples if layout.planes == 2 else 1
    rows, columns = (*tag(323), *tag(322)) if tiled else (min(tag(278, height)[0], height), width)
    starts, sizes = (tag(324), tag(325)) if tiled else (tag(273), tag(279))
    if min(width, height, layout.samples, rows, columns) < 1:
        raise UnusableSample("broken header: no pixels")
    if not any(sizes) and all(starts):  # very old programs leave the sizes out
        sizes = (len(data),) * len(starts)
    within = 1 if layout.planes == 2 else layout.samples  # samples of a pixel in a block
    line = ceil(columns * max(layout.bits) * within / 8) if layout.compression in PLAIN else 0
    down, count = ceil(height / rows), ceil(height / rows) * ceil(width / columns) * planes
    needs = (line * (rows if tiled else min(rows, height - number % down * rows)) for number in range(count))
    _require_blocks(len(data), starts, sizes, count, needs)
    return width, height, tiled, (rows, columns), starts, sizes


def _check_layout(layout: Layout, fill: int, inks: int) -> None:
    """Raise `UnusableSample` for a layout that is not listed. `layout` has samples of one type."""
    (kind,), (depth,), samples, own = layout.kinds, layout.bits, layout.samples, layout.own
    colour, compression, predictor, extra = layout.colour, layout.compression, layout.predictor, layout.extra
    name = f"{depth}-bit {KIND_NAMES.get(kind, 'complex numbers')}"
    packed = depth == 12 and kind == "u"
    predicted = {1: True, 2: kind != "f", 3: kind == "f"}.get(predictor, False)
    named = len(extra) == samples - own or (colour == RGB and not extra)  # bands, such as infrared; they are not shown
    alpha, planes = layout.alpha, layout.planes
    for true, what in (
        (packed or f"{kind}{depth}" in TYPES, name),
        (not packed or (samples == 1 and predictor == 1), "12-bit integers that are not plain gray"),
        (colour in CHANNELS, f"{name} with photometric interpretation {colour}"),
        (colour != WHITE_IS_ZERO or kind != "f", f"{name} where zero is white"),
        (colour != CMYK or (kind == "u" and depth <= 16 and inks == 1), f"{name} in CMYK"),
        (layout.listed, f"{name} with compression {compression}"),
        (predicted and (predictor == 1 or compression in PREDICTED), f"{name} with predictor {predictor}"),
        (fill == 1 and planes in (1, 2), f"{name} with fill order {fill} and planar configuration {planes}"),
        (own <= samples <= 2 * own and named, f"{name} with {samples} channels, extra samples {extra}"),
        (not alpha or kind != "i", f"{name} with alpha"),
        (not alpha or colour != CMYK, f"{name} in CMYK with alpha"),
        (alpha != PREMULTIPLIED or colour != WHITE_IS_ZERO, f"{name} where zero is white, with premultiplied alpha"),
    ):
        _want(true, what)


def _require_blocks(length: int, starts: Sequence[int], sizes: Sequence[int], count: int, needs: Iterable[int]) -> None:
    """Raise `UnusableSample` unless a file of this length has `count` strips or tiles of at least `needs` bytes each.

    For a missing strip, decoders show bytes of others or of the header. Libraries for maps leave out empty strips.
    """
    if min(len(starts), len(sizes)) < count:
        raise UnusableSample("broken TIFF: strips or tiles are missing")
    for start, size, need in zip(starts, sizes, needs, strict=False):
        _want(start > 0 < size, "strips or tiles without data (sparse)")
        if size < need or start + need > length:
            raise UnusableSample("truncated or broken TIFF: a strip or tile is too short")


def refuse_tiff(data: bytes) -> None:
    """Raise `UnusableSample` with the layout of a TIFF that Pillow does not know. Return if this is no TIFF."""
    if data.startswith(MAGIC):
        with decoding_errors("broken header"):
            tag = partial(_tag, _directory(data))
            if not tag(256) or not tag(257):
                raise UnusableSample("broken header: no pixels")
            bits, extra = "/".join(map(str, sorted(set(tag(258, 1))))), tag(338)
            about = f"photometric interpretation {tag(262, -1)[0]}, compression {tag(259, 1)[0]}"
        _want(False, f"{bits}-bit integers with {tag(277, 1)[0]} channels, extra samples {extra}, {about}")


def _directory(data: bytes) -> ImageFileDirectory_v2:
    """Read the tags of the first page."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2

    directory = ImageFileDirectory_v2(data[: 16 if b"+" in data[:4] else 8])
    stream = BytesIO(data)
    stream.seek(directory.next)
    directory.load(stream)
    return directory


def _tag(directory: ImageFileDirectory_v2, number: int, *default: int) -> tuple[int, ...]:
    found = directory.get(number, default)
    return tuple(map(int, found if isinstance(found, tuple) else (found,)))


def _want(condition: bool, name: str) -> None:
    if not condition:
        raise UnusableSample(f"TIFF of {name} is not read; convert it to plain gray or RGB")
