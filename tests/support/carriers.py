"""Transparent pictures as bytes of our own, for what no library writes: PNG with tRNS, BMP with masks."""

from __future__ import annotations

import struct
import zlib

import numpy as np

BGRA = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)  # masks of red, green, blue and alpha


def write_png(values: np.ndarray, depth: int, colour: int, clear: bytes = b"", palette: bytes = b"") -> bytes:
    """(H, W) or (H, W, C) samples as PNG of a depth and colour type, with a tRNS chunk if it is not empty."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    lines = values.reshape(len(values), -1)
    bits = (lines[..., None] >> np.arange(depth - 1, -1, -1) & 1).astype(np.uint8)
    packed = np.packbits(bits.reshape(len(values), -1), axis=1)
    data = b"".join(b"\0" + line.tobytes() for line in packed)
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", clear), (b"IDAT", zlib.compress(data))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(name, body) for name, body in chunks if body) + chunk(b"IEND", b"")


def write_bmp(pixels: np.ndarray, version: int, masks: tuple[int, int, int, int], fields: bool) -> bytes:
    """(H, W, 4) uint8, or (H, W) uint16, as BMP V4 or V5: BITFIELDS, or BI_RGB, whose last byte means nothing."""
    height, width = pixels.shape[:2]
    size, bits = {4: 108, 5: 124}[version], 8 * pixels[0, 0].nbytes
    info = struct.pack("<IiiHHIIiiII", size, width, height, 1, bits, 3 if fields else 0, pixels.nbytes, 0, 0, 0, 0)
    info = (info + struct.pack("<IIII", *masks)).ljust(size, b"\0")
    start = 14 + size
    return b"BM" + struct.pack("<IHHI", start + pixels.nbytes, 0, 0, start) + info + pixels[::-1].tobytes()
