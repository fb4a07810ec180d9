"""Decode JPEG, and find damage inside its compressed data."""

from __future__ import annotations

import re
from struct import unpack_from
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, decoding_errors

JPEG_TABLES = {0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE, *range(0xFFE0, 0xFFF0)}  # markers of a regular header, except its frame
JPEG_END = b"\xff\xd9"  # end marker of a JPEG; cannot occur inside compressed data
# what libjpeg says of damaged compressed data; of headers it says other things, which harm no pixel
SCAN_DAMAGE = re.compile(
    r"premature end|Huffman|arithmetic|instead of RST|progression|before marker 0xd\d", re.IGNORECASE
)
ZEROS = bytes(16)  # rare in intact data, common where a part of a file was never written
# Restart markers confine damage to one interval, and there libjpeg sees little of it. Usually an interval is one row of
# blocks: of a larger image, it is less than 2 % of the pixels, and libav adds 40 % to the time of a jigsaw puzzle.
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


def read_jpeg_header(data: bytes) -> JpegHeader | None:
    """Read the header of a regular JPEG of 8 bits, in a tenth of Pillow's time; else None."""
    at, frame, restarts, factors = 2, (0, 0, 0, 0), False, b""
    metadata: list[bytes] = []
    while data.startswith(b"\xff\xd8\xff") and at + 10 < len(data):
        marker, length = unpack_from(">HH", data, at)
        if marker == 0xFFDA:  # start of scan
            bits, height, width, components = frame
            whole = bits == 8 and width * height > 0
            return JpegHeader(width, height, components, factors, restarts, tuple(metadata), at) if whole else None
        if marker in (0xFFC0, 0xFFC1, 0xFFC2):  # start of frame: baseline, extended, progressive
            frame = unpack_from(">BHHB", data, at + 4)
            factors = data[at + 11 : at + 2 + length : 3]
        elif marker not in JPEG_TABLES:
            return None
        restarts |= marker == 0xFFDD and data[at + 4 : at + 6] != b"\0\0"
        if marker == 0xFFE1:
            metadata.append(data[at + 4 : at + 2 + length])
        at += 2 + length
    return None


def decode_jpeg(data: bytes, header: JpegHeader) -> np.ndarray:
    """Decode with libjpeg-turbo to (H, W, 3) uint8 RGB, not yet upright. Raise `UnusableSample` if data is damaged."""
    import simplejpeg

    end = data.find(JPEG_END, header.start)
    if end < 0:
        raise UnusableSample("truncated JPEG")
    try:
        image = np.asarray(simplejpeg.decode_jpeg(data, "RGB", strict=True))
    except ValueError as fault:
        trimmed = _without_padding(data, end)
        if "before marker 0xd9" in str(fault) and len(trimmed) < len(data):
            return decode_jpeg(trimmed, header)
        _raise_if_damaged(str(fault))
        image = _opencv(data)
    else:
        restarts = header.restarts and header.width * header.height <= MAX_RESTART_PIXELS
        if not restarts and data.find(ZEROS, header.start, end) < 0:
            return image
    _check_with_libav(data, header.start, end)
    return image


def check_jpeg(data: bytes) -> None:
    """Raise `UnusableSample` if data is damaged in a JPEG that `decode_jpeg` does not decode, of CMYK for example."""
    import simplejpeg

    header = read_jpeg_header(data)
    try:
        colour = simplejpeg.decode_jpeg_header(data, strict=False)[2]
        simplejpeg.decode_jpeg(data, "CMYK" if colour in ("CMYK", "YCCK") else "RGB", strict=True)
    except ValueError as fault:
        _raise_if_damaged(str(fault))
    if header:
        _check_with_libav(data, header.start, data.find(JPEG_END, header.start))


def _raise_if_damaged(message: str) -> None:
    """Raise `UnusableSample` if this message of libjpeg is about compressed data."""
    if "premature end" in message:
        raise UnusableSample("broken JPEG: its data ends before the image is complete")
    if SCAN_DAMAGE.search(message):
        raise UnusableSample(f"broken JPEG: {message}")


def _opencv(data: bytes) -> np.ndarray:
    """Decode with OpenCV, which passes over faults of the header, and knows more kinds of subsampling."""
    import cv2

    with decoding_errors("broken JPEG"):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise UnusableSample("broken JPEG")
    return np.asarray(image)


def _without_padding(data: bytes, end: int) -> bytes:
    """Shorten a run of one byte before the end marker to two, as many as libjpeg passes over: some cameras pad."""
    kept = len(data[:end].rstrip(data[end - 1 : end])) + 2
    return data[:kept] + data[end:] if kept < end else data


def _check_with_libav(data: bytes, start: int, end: int) -> None:
    """Raise `UnusableSample` if libav finds invalid data: coefficients beyond the end of a block, for example.

    `start` and `end` are the offsets of the start of scan and of the end marker. Application data and comments are left
    out, since libav reports faults in them too.
    """
    import av

    at, kept = 2, [data[:2]]
    while at < start:
        marker, length = unpack_from(">HH", data, at)
        if marker != 0xFFFE and not 0xFFE0 <= marker <= 0xFFEF:
            kept.append(data[at : at + 2 + length])
        at += 2 + length
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode", "lowres": "3"}  # an eighth of the size: all data is read, in less time
    decoder.thread_count = 1  # starting threads takes longer
    try:
        decoder.decode(av.Packet(b"".join([*kept, data[start : end + 2]])))
    except av.InvalidDataError:
        raise UnusableSample("broken JPEG: invalid compressed data") from None
    except av.FFmpegError:  # a kind of JPEG that libav does not decode
        return
