"""Decode TIFF that Pillow does not decode: of more than 8 bits, or of 8 bits with some layouts of alpha or other bands.

Refuse a layout that is not listed here, with a message that names it.

Libraries that decode any TIFF return pixels for layouts they do not know: planes in the wrong order, an infrared band
as alpha, uninitialised memory. So libtiff (in Pillow) and zlib only decompress blocks of bytes here, each of a
known size; NumPy arranges them (TIFF 6.0, and Adobe's TIFF Technical Note 3 for the predictor of floats).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from functools import partial
from io import BytesIO
from math import ceil
from struct import pack
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors
from pseudolabel.readers.image.orientation import xmp_orientation
from pseudolabel.readers.image.tone import BAND_ROWS, check_range, stretch

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
MAX_BLOCK_BYTES = 2**26  # bytes of a compressed strip or tile, of which decoding holds several copies


class TiffPage(NamedTuple):
    """Header of the first page."""

    width: int
    height: int
    samples: int  # per pixel
    colour: int  # PhotometricInterpretation
    alpha: int  # PREMULTIPLIED, STRAIGHT, or 0 if there is none
    opacity: int  # index of the channel of alpha
    dtype: np.dtype[np.generic]  # of a sample, in the byte order of the file
    packed: bool  # samples of 12 bits, two in three bytes
    separate: bool  # one plane after another, not pixel by pixel
    compression: int
    predictor: int
    tiled: bool  # blocks are tiles, which are whole at the edges; else strips
    block: tuple[int, int]  # rows and columns
    starts: tuple[int, ...]
    sizes: tuple[int, ...]
    orientation: int

    @property
    def weight(self) -> int:
        """How often a pixel counts against `max_pixels`: if deep, once for every three bytes, and at least twice."""
        return max(2, ceil(self.samples * self.dtype.itemsize / 3)) if self.dtype.itemsize > 1 else 1

    @property
    def extent(self) -> tuple[int, int]:
        """Width and height for which memory is needed: a tile may be larger than the image."""
        return max(self.width, self.block[1]), max(self.height, self.block[0])


def read_tiff(data: bytes) -> TiffPage | None:
    """Read the header. None: no TIFF, or one that Pillow decodes. Refuse a layout that is not listed."""
    if not data.startswith(MAGIC):
        return None
    _want(not data.startswith(b"MM\0+"), "64-bit offsets in big-endian order")  # Pillow reads these offsets wrongly
    with decoding_errors("broken header"):
        directory = _directory(data)
        tag = partial(_tag, directory)
        bits, kinds, samples = set(tag(258, 1)), {KINDS.get(kind, "?") for kind in tag(339, 1)}, tag(277, 1)[0]
        (colour,) = tag(262, BLACK_IS_ZERO if kinds == {"f"} and samples == 1 else -1)  # the default of gray floats
        (compression,), (predictor,), (planes,), extra = tag(259, 1), tag(317, 1), tag(284, 1), tag(338)
        own = CHANNELS.get(colour, samples)
        listed = compression in (*PLAIN, *DEFLATE, *LIBTIFF)
        beside = bits == {8} and samples > own and (planes == 2 or own == 1 or samples > own + 1)
        native = kinds == {"u"} and max(bits) <= 8 and not (beside and listed)  # Pillow decodes it
        _want(not native or compression != WEBP, f"{max(bits)}-bit integers with compression {compression}")
        _want(native or len(bits) == len(kinds) == 1, "channels of different types")
        if native and not (listed or compression == JPEG):
            return None
        (width,), (height,) = tag(256, 0), tag(257, 0)
        tiled = 322 in directory
        rows, columns = (*tag(323), *tag(322)) if tiled else (min(tag(278, height)[0], height), width)
        starts, sizes = (tag(324), tag(325)) if tiled else (tag(273), tag(279))
        if min(width, height, samples, rows, columns) < 1:
            raise UnusableSample("broken header: no pixels")
        if not any(sizes) and all(starts):  # very old programs leave the sizes out
            sizes = (len(data),) * len(starts)
        line = ceil(columns * max(bits) * (1 if planes == 2 else samples) / 8) if compression in PLAIN else 0
        down, count = ceil(height / rows), ceil(height / rows) * ceil(width / columns) * (samples if planes == 2 else 1)
        needs = (line * (rows if tiled else min(rows, height - number % down * rows)) for number in range(count))
        _require_blocks(len(data), starts, sizes, count, needs)
        if native:
            return None
        fill, inks = tag(266, 1)[0], tag(332, 1)[0]
        orientation = tag(274, xmp_orientation(directory.get(700)))[0]
    kind, depth = min(kinds), min(bits)
    name = f"{depth}-bit {KIND_NAMES.get(kind, 'complex numbers')}"
    packed = depth == 12 and kind == "u"
    _want(packed or f"{kind}{depth}" in TYPES, name)
    _want(not packed or (samples == 1 and predictor == 1), "12-bit integers that are not plain gray")
    _want(colour in CHANNELS, f"{name} with photometric interpretation {colour}")
    _want(colour != WHITE_IS_ZERO or kind != "f", f"{name} where zero is white")
    _want(colour != CMYK or (kind == "u" and depth <= 16 and inks == 1), f"{name} in CMYK")
    _want(listed, f"{name} with compression {compression}")
    wanted = {1: True, 2: kind != "f", 3: kind == "f"}.get(predictor, False)
    _want(wanted and (predictor == 1 or compression in PREDICTED), f"{name} with predictor {predictor}")
    _want(fill == 1 and planes in (1, 2), f"{name} with fill order {fill} and planar configuration {planes}")
    named = len(extra) == samples - own or (
        colour == RGB and not extra
    )  # bands: infrared, for example; they are not shown
    _want(own <= samples <= 2 * own and named, f"{name} with {samples} channels, extra samples {extra}")
    alpha = next((kind for kind in extra if kind in (PREMULTIPLIED, STRAIGHT)), 0)
    _want(not alpha or kind != "i", f"{name} with alpha")
    _want(not alpha or colour != CMYK, f"{name} in CMYK with alpha")
    _want(alpha != PREMULTIPLIED or colour != WHITE_IS_ZERO, f"{name} where zero is white, with premultiplied alpha")
    dtype = np.dtype(f"{'>' if data[:1] == b'M' else '<'}{kind}{2 if packed else depth // 8}")
    return TiffPage(
        width, height, samples, colour, alpha, own + extra.index(alpha) if alpha else 0, dtype, packed,
        planes == 2 and samples > 1, compression, predictor, tiled, (rows, columns), starts, sizes, orientation,
    )  # fmt: skip


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


def decode_tiff(data: bytes, page: TiffPage, span: str) -> np.ndarray:
    """Decode to (H, W, 3) uint8 RGB on white, not yet upright. Apply `span` to the colours; alpha keeps its scale."""
    from PIL import Image

    values = _values(data, page)
    if page.colour == CMYK:
        image = np.empty((*values.shape[:2], 3), np.uint8)
        for top in range(0, len(values), BAND_ROWS):
            inks = (values[top : top + BAND_ROWS, :, :4] >> 8 * (page.dtype.itemsize - 1)).astype(np.uint8)
            image[top : top + BAND_ROWS] = Image.fromarray(inks, "CMYK").convert("RGB")
        return image
    colours = values[..., : CHANNELS[page.colour]]
    if page.colour == WHITE_IS_ZERO:
        limits = np.iinfo(values.dtype)
        np.subtract(4095 if page.packed else limits.max + limits.min, colours, out=colours)
    if page.alpha == PREMULTIPLIED:
        for top in range(0, len(values), BAND_ROWS):
            _divide(colours[top : top + BAND_ROWS], _opacity(values[top : top + BAND_ROWS], page))
    image = stretch(colours, span) if page.dtype.itemsize > 1 else colours
    image = image if image.shape[2] == 3 else image.repeat(3, axis=2)
    if page.alpha:
        for top in range(0, len(values), BAND_ROWS):
            opacity, band = _opacity(values[top : top + BAND_ROWS], page), image[top : top + BAND_ROWS]
            band[...] = (band * opacity + 255 * (1 - opacity)).round()
    if page.dtype.itemsize > 1:
        check_range(image, colours, span)
    return image


def _opacity(values: np.ndarray, page: TiffPage) -> np.ndarray:
    """(H, W, samples) -> (H, W, 1): alpha of unsigned integers, or of floats from 0 to 1, as float64 from 0 to 1."""
    alpha = values[..., page.opacity, None]
    if alpha.dtype.kind == "u":
        return alpha / float(np.iinfo(alpha.dtype).max)
    if not ((alpha >= 0) & (alpha <= 1)).all():
        raise UnusableSample("TIFF with alpha outside 0 to 1 is not read")
    return alpha.astype(np.float64)


def _divide(colours: np.ndarray, opacity: np.ndarray) -> None:
    """Undo the multiplication of colours by their opacity, in place. Where opacity is 0, colours stay."""
    made = colours / np.where(opacity > 0, opacity, 1)
    colours[...] = made.round().clip(max=np.iinfo(colours.dtype).max) if colours.dtype.kind == "u" else made


def _values(data: bytes, page: TiffPage) -> np.ndarray:
    """Decode all blocks to (H, W, samples), of the type of the file in native byte order."""
    rows, columns = page.block
    across, down = ceil(page.width / columns), ceil(page.height / rows)
    planes, depth = (page.samples, 1) if page.separate else (1, page.samples)
    out = np.zeros((page.height, page.width, page.samples), page.dtype.newbyteorder("="))
    for number in range(planes * across * down):
        plane, place = divmod(number, across * down)
        top, left = place // across * rows, place % across * columns
        there = out[top : top + rows, left : left + columns, plane : plane + depth]
        start, size = page.starts[number], page.sizes[number]
        block = _block(data, start, size, (rows if page.tiled else len(there), columns, depth), page)
        there[...] = block[: there.shape[0], : there.shape[1]]
    return out


def _block(data: bytes, start: int, size: int, shape: tuple[int, int, int], page: TiffPage) -> np.ndarray:
    """Decode one strip or tile to its shape (rows, columns, samples)."""
    rows, columns, depth = shape
    width = ceil(columns * 3 / 2) if page.packed else columns * depth * page.dtype.itemsize  # bytes
    if page.compression in PLAIN:
        found: bytes | memoryview = memoryview(data)[start : start + rows * width]
    elif rows * width > MAX_BLOCK_BYTES:
        raise UnusableSample(f"TIFF with a compressed strip or tile of more than {MAX_BLOCK_BYTES} bytes is not read")
    else:
        inflate = _zlib if page.compression in DEFLATE else _libtiff
        found = inflate(data[start : start + size], rows, width, page.compression)
        if len(found) < rows * width or start + size > len(data):
            raise UnusableSample("truncated or broken TIFF: a strip or tile is too short")
    if page.packed:
        return _unpack(np.frombuffer(found, np.uint8).reshape(rows, width), columns)
    if page.predictor == 3:
        return _undo_float_predictor(np.frombuffer(found, np.uint8).reshape(rows, width), shape, page.dtype.itemsize)
    block = np.frombuffer(found, page.dtype).reshape(shape)
    if page.predictor == 2:
        return np.add.accumulate(block.astype(page.dtype.newbyteorder("=")), axis=1, dtype=page.dtype.newbyteorder("="))
    return block


def _zlib(data: bytes, rows: int, width: int, compression: int) -> bytes:
    """Inflate at most `rows * width` bytes, and check the checksum that follows them."""
    stream = zlib.decompressobj()
    found = stream.decompress(data, rows * width)
    stream.decompress(stream.unconsumed_tail, 1)
    return found


def _libtiff(data: bytes, rows: int, width: int, compression: int) -> bytes:
    """Decompress a block as a gray image of 8 bits, one sample a byte. Libtiff fails if bytes are missing."""
    from PIL import Image

    entries = [(256, width), (257, rows), (258, 8), (259, compression), (262, BLACK_IS_ZERO), (273, 122)]
    entries += [(277, 1), (278, rows), (279, len(data))]
    directory = b"".join(pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    header = b"II*\0" + pack("<IH", 8, len(entries)) + directory + bytes(4)
    return Image.open(BytesIO(header + data), formats=("TIFF",)).tobytes()


def _unpack(lines: np.ndarray, columns: int) -> np.ndarray:
    """(rows, bytes) -> (rows, columns, 1) uint16: two samples of 12 bits in three bytes, the highest bit first."""
    whole = np.pad(lines, ((0, 0), (0, -lines.shape[1] % 3))).reshape(len(lines), -1, 3).astype(np.uint16)
    first, second = whole[..., 0] << 4 | whole[..., 1] >> 4, (whole[..., 1] & 15) << 8 | whole[..., 2]
    return np.stack([first, second], axis=2).reshape(len(lines), -1)[:, :columns, None]


def _undo_float_predictor(lines: np.ndarray, shape: tuple[int, int, int], width: int) -> np.ndarray:
    """(rows, bytes) -> shape: each row has the differences of all highest bytes, then of all next bytes, and so on."""
    rows, columns, depth = shape
    summed = np.add.accumulate(lines.reshape(rows, -1, depth), axis=1, dtype=np.uint8)
    planes = summed.reshape(rows, width, columns * depth)
    return np.ascontiguousarray(planes.swapaxes(1, 2)).view(f">f{width}").reshape(shape)
