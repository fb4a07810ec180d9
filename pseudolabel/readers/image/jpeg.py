"""Decode JPEG, and find damage inside its compressed data."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from struct import unpack_from
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors

FRAMES = (0xC0, 0xC1, 0xC2)  # markers: start of a frame, baseline, extended, or progressive
START_OF_SCAN, END, EXIF_OR_XMP, RESTART_INTERVAL = 0xDA, 0xD9, 0xE1, 0xDD
HARMLESS = {0xFE, *range(0xE0, 0xF0)}  # comments and application data
JFIF, ADOBE = 0xE0, 0xEE  # application data that say what the channels are
RGB = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # application data of Adobe: the channels are not converted
TABLES = {0xC4, 0xDB, RESTART_INTERVAL, *HARMLESS}  # markers of a regular header, except its frame
COMPRESSED = 0  # stands for the marker of compressed data, which has none
MARKER = re.compile(rb"\xff[^\0\x01\xd0-\xd7\xff]")  # of a segment; decoders skip any other bytes before it
JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"  # cannot occur inside compressed data
# messages of libjpeg on damaged compressed data; its other messages are on headers, and no pixel depends on them
SCAN_DAMAGE = re.compile(r"premature end|Huffman|arithmetic|instead of RST|progression|before marker", re.IGNORECASE)
ZEROS = bytes(16)  # rare in intact data, common where a part of a file was never written
# Restart markers confine damage to one interval, and libjpeg detects little of it there: check with libav. Do not check
# larger images: an interval, usually a row of blocks, is below 2 % of their pixels, and jigsaw would take 40 % longer.
MAX_RESTART_PIXELS = 2**20


class JpegHeader(NamedTuple):
    """Header of a JPEG of 8 bits, the most common kind of image."""

    width: int
    height: int
    components: int
    factors: bytes  # sampling factors of each component, see `chroma.py`
    restarts: bool  # the compressed data has restart markers
    metadata: tuple[bytes, ...]  # contents of APP1 segments: EXIF and XMP
    start: int  # offset of the start of scan, where the header ends


def _segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment and of compressed data. Leave out bytes that decoders skip."""
    at = 2
    while match := MARKER.search(data, at):
        start, marker = match.start(), data[match.start() + 1]
        at = start + 2 + (0 if marker == END else int.from_bytes(data[start + 2 : start + 4], "big"))
        yield marker, start, at
        if marker == END:
            return
        if marker == START_OF_SCAN:
            start, match = at, MARKER.search(data, at)
            at = match.start() if match else len(data)
            yield COMPRESSED, start, at


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the header of a regular JPEG of 8 bits, in a tenth of Pillow's time; else None."""
    frame, restarts, factors = (0, 0, 0, 0), False, b""
    metadata: list[bytes] = []
    for marker, start, end in _segments(data) if data.startswith(b"\xff\xd8\xff") else ():
        if end + 6 > len(data):
            return None
        if marker == START_OF_SCAN:
            bits, height, width, components = frame
            whole = bits == 8 and width * height > 0
            return JpegHeader(width, height, components, factors, restarts, tuple(metadata), start) if whole else None
        if marker in FRAMES:
            frame = unpack_from(">BHHB", data, start + 4)
            factors = data[start + 11 : end : 3]
        elif marker not in TABLES:
            return None
        restarts |= marker == RESTART_INTERVAL and data[start + 4 : start + 6] != b"\0\0"
        if marker == EXIF_OR_XMP:
            metadata.append(data[start + 4 : end])
    return None


def decode_jpeg(data: bytes, header: JpegHeader, factor: int = 1) -> np.ndarray:
    """Decode with libjpeg-turbo to (H // factor, W // factor, 3) uint8 RGB, not yet upright; see `reduction.py`.

    Raise `UnusableSample` if data is damaged.
    """
    import simplejpeg

    if data.rfind(JPEG_END, header.start) < 0:  # from the end, where the first is found at once
        raise UnusableSample("truncated JPEG")
    try:
        least = (-(-side // factor) if factor > 1 else 0 for side in (header.height, header.width))
        image = np.asarray(simplejpeg.decode_jpeg(data, "RGB", False, False, *least, strict=True))
    except ValueError:
        check_jpeg(data)
        return _shrink(_tolerant(data), factor)
    restarts = header.restarts and header.width * header.height <= MAX_RESTART_PIXELS
    zeros = data.find(ZEROS, header.start)
    if restarts or 0 <= zeros < data.find(JPEG_END, header.start):  # a file may go on after the first end
        _check_with_libav(_plain(data))
    return image if factor == 1 else image[: header.height // factor, : header.width // factor]


def _shrink(image: np.ndarray, factor: int) -> np.ndarray:
    import cv2

    height, width = (side // factor for side in image.shape[:2])
    whole = image[: height * factor, : width * factor]
    return np.asarray(cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)) if factor > 1 else image


def without_conversion(data: bytes) -> bytes:
    """Declare a JPEG of YCbCr to be RGB: decoders return Y, Cb and Cr, at the same speed, neither mixed nor clipped.

    Raise `UnusableSample` if it has other channels.
    """
    import simplejpeg

    with decoding_errors("broken JPEG"):
        colour = simplejpeg.decode_jpeg_header(data, strict=False)[2]
    if colour != "YCbCr":
        raise UnusableSample(f"JPEG of {colour} with channels of different sizes is not read")
    kept, at = [JPEG_START, RGB], 2
    for marker, start, end in _segments(data):
        if marker in (JFIF, ADOBE):
            kept.append(data[at:start])
            at = end
        elif marker == START_OF_SCAN:
            break
    return b"".join([*kept, data[at:]])


def check_jpeg(data: bytes) -> None:
    """Raise `UnusableSample` if the compressed data of a JPEG of any kind is damaged."""
    _check_with_libjpeg(data)
    if read_jpeg_header(data):
        _check_with_libav(_plain(data))


def _plain(data: bytes, padded: bool = True, left_out: Collection[int] = HARMLESS) -> bytes:
    """Keep what pixels depend on. Decoders report other faults too, and libjpeg reports only the first fault.

    Leave out comments, application data, and bytes between segments. Set the parameters of scans to the only valid
    values if the frame is not progressive. `padded`: keep the padding of the last scan: one byte, repeated.
    """
    kept, progressive = [data[:2]], False
    for marker, start, end in _segments(data):
        part = data[start:end]
        progressive |= marker == FRAMES[2]
        if marker == START_OF_SCAN and not progressive:
            part = part[:-3] + b"\0\x3f\0"
        elif marker == COMPRESSED and not padded and data.startswith(JPEG_END, end):
            part = part[: len(part.rstrip(part[-1:])) + 2]  # libjpeg skips two bytes of padding
        if marker not in left_out:
            kept.append(part)
    return b"".join(kept)


def _check_with_libjpeg(data: bytes, padded: bool = True) -> None:
    """Raise `UnusableSample` if libjpeg-turbo reports damage of the compressed data."""
    import simplejpeg

    plain = _plain(data, padded)
    try:
        colour = simplejpeg.decode_jpeg_header(plain, strict=False)[2]
        simplejpeg.decode_jpeg(plain, "CMYK" if colour in ("CMYK", "YCCK") else "RGB", strict=True)
    except ValueError as fault:
        if padded and "before marker" in str(fault):
            return _check_with_libjpeg(data, padded=False)
        if "premature end" in str(fault):
            raise UnusableSample("broken JPEG: its data ends before the image is complete") from None
        if SCAN_DAMAGE.search(str(fault)):
            raise UnusableSample(f"broken JPEG: {fault}") from None


def _tolerant(data: bytes) -> np.ndarray:
    """Decode without `HARMLESS` segments; if this fails, with OpenCV: it ignores faults, and has more subsampling."""
    import cv2
    import simplejpeg

    with suppress(ValueError):
        plain = _plain(data, padded=False, left_out=HARMLESS - {JFIF, ADOBE})
        return np.asarray(simplejpeg.decode_jpeg(plain, "RGB", strict=True))
    with decoding_errors("broken JPEG"):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise UnusableSample("broken JPEG")
    return np.asarray(image)


def _check_with_libav(plain: bytes) -> None:
    """Raise `UnusableSample` if libav finds invalid data: coefficients beyond the end of a block, for example."""
    import av

    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode", "lowres": "3"}  # an eighth of the size: all data is read, in less time
    decoder.thread_count = 1  # starting threads takes longer
    try:
        decoder.decode(av.Packet(plain))
    except av.InvalidDataError:
        raise UnusableSample("broken JPEG: invalid compressed data") from None
    except av.FFmpegError:  # a kind of JPEG that libav does not decode
        return
