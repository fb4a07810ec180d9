"""Decode TIFF that Pillow does not decode: of more than 8 bits, or of 8 bits with some layouts of alpha or other bands.

Libraries that decode any TIFF return pixels for layouts they do not know: planes in the wrong order, an infrared band
as alpha, uninitialised memory. So libtiff (in Pillow) and zlib only decompress blocks of bytes here, each of a
known size; NumPy arranges them (TIFF 6.0, and Adobe's TIFF Technical Note 3 for the predictor of floats).
"""

from __future__ import annotations

import zlib
from io import BytesIO
from math import ceil
from struct import pack

import numpy as np

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.image.tiff_header import (
    BLACK_IS_ZERO,
    CHANNELS,
    CMYK,
    DEFLATE,
    PLAIN,
    PREMULTIPLIED,
    WHITE_IS_ZERO,
    TiffPage,
)
from pseudolabel.readers.image.tone import BAND_ROWS, check_range, stretch

MAX_BLOCK_BYTES = 2**26  # bytes of a compressed strip or tile, of which decoding holds several copies


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
