"""The end of a recording as the headers of its file give it: find bytes after this end, and bytes that are cut off."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from struct import calcsize, unpack, unpack_from
from typing import NamedTuple

from pseudolabel.readers.sources.formats import HEAD_BYTES, format_of
from pseudolabel.readers.sources.opening import FaultRecordingFile

MAX_TAIL = 4096  # bytes behind a recording that are no chunk: a tag, or padding to a sector
MAX_MISSING = 16  # bytes: some writers count the header of a box twice
MAX_BOXES = 10_000  # or chunks
FIRST_BOXES = (b"ftyp", b"styp", b"moof", b"mdat", b"free", b"skip", b"wide", b"pnot", b"moov")  # of an MP4 or MOV
CHUNKS = {  # form -> place of the first chunk, and its header: name and length
    b"RIFF": (12, "<4sI"), b"RF64": (12, "<4sI"), b"BW64": (12, "<4sI"), b"RIFX": (12, ">4sI"), b"FORM": (12, ">4sI"),
    b"caff": (8, ">4sQ"),
}  # fmt: skip
SOUND_CHUNKS = (b"data", b"SSND")
FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")  # ASF: the file's size is 24 bytes behind it


class Box(NamedTuple):
    """An outermost box of an MP4 or MOV (ISO 14496-12)."""

    kind: bytes
    at: int
    end: int


def left_over(file: FaultRecordingFile) -> str:
    """Return what follows the recording and no decoder reads; "" if nothing does. Call this when all is read.

    After uncompressed sound, all bytes are left over that are not chunks. After other recordings, bytes are left over
    only if another file begins there. Return "" if the header gives no length, as in a stream.
    """
    size = file.seek(0, os.SEEK_END)
    end, any_bytes = _stated_end(file, size)
    if size - end <= MAX_TAIL:
        return ""
    another = format_of(_bytes(file, end, HEAD_BYTES))
    if not another and not any_bytes:
        return ""
    kind = f", another file ({another})" if another else ""
    return f"the recording ends here by its header; what follows is not read: {size - end:,} bytes{kind}"


def missing_bytes(file: FaultRecordingFile) -> str:
    """Return by how much a file is shorter than its header says; "" if it is not, or if the header does not say."""
    size = file.seek(0, os.SEEK_END)
    end, _ = _stated_end(file, size)
    return f"the file is {end - size:,} bytes shorter than its header says" if end - size > MAX_MISSING else ""


def index_fault(file: FaultRecordingFile) -> str:
    """Return why an MP4 or MOV that does not open has no index; "" if it has one, or is another format."""
    size = file.seek(0, os.SEEK_END)
    for box in _boxes(file, size):
        if box.kind == b"moov":
            return "its index (the moov box) is cut off" if box.end > size else ""
        if not box.at and box.kind not in FIRST_BOXES:
            return ""
    return "its index (the moov box) is missing: the recording or the copy of it was cut off"


def _stated_end(file: FaultRecordingFile, size: int) -> tuple[int, bool]:
    """Return where the recording ends by its header, else `size`; and whether any bytes after it are left over."""
    head = _bytes(file, 0, HEAD_BYTES)
    form = head[:4]
    if form in CHUNKS and (form == b"caff" or head[8:12] in (b"WAVE", b"AIFF", b"AIFC")):
        return _end_of_chunks(file, size, *CHUNKS[form]), True
    if form in (b".snd", b"dns.") and len(head) >= 12:
        offset, length = unpack_from(">II" if form == b".snd" else "<II", head, 4)
        return min(offset + length, size), True
    if form == b"RIFF" and head[8:12] == b"AVI ":  # libav reads on in what follows
        return max(8 + unpack_from("<I", head, 4)[0], size), False
    if segment := re.match(rb"\x1aE\xdf\xa3(?:[\x80-\xff]|[\x40-\x7f].|\x01.{7}).{0,60}?\x18S\x80g", head, re.DOTALL):
        length, width = _variable_integer(head[segment.end() :])
        return max(segment.end() + width + length, size), False
    if head[4:8] in FIRST_BOXES:
        return _end_of_boxes(file, size), False
    properties = head.find(FILE_PROPERTIES)
    return (int.from_bytes(head[properties + 40 :][:8], "little") if properties > 0 else 0) or size, False


def _end_of_chunks(file: FaultRecordingFile, size: int, at: int, layout: str) -> int:
    """Return where the chunks after the sound end; `size` if the sound has no known length, or exceeds the file."""
    length_64, heard = 0, False
    for _ in range(MAX_BOXES):
        if at + calcsize(layout) > size:
            break
        name, length = unpack(layout, _bytes(file, at, calcsize(layout)).ljust(calcsize(layout), b"\0"))
        begin = at + calcsize(layout)
        if name == b"ds64":
            length_64 = int.from_bytes(_bytes(file, begin + 8, 8), "little")
        if name in SOUND_CHUNKS and not heard:
            length, heard = length_64 or length, True
            if not length or begin + length > size:
                return size
        elif name in (*CHUNKS, *SOUND_CHUNKS) or not re.fullmatch(rb"[ -~]{4}", name) or begin + length > size:
            break
        at = begin + length
        if length % 2 and not re.match(rb"[ -~]{4}", _bytes(file, at, 4)):
            at += 1  # some writers leave the padding out
    return min(at, size) if heard else size


def _end_of_boxes(file: FaultRecordingFile, size: int) -> int:
    """Return the start of a second file, or the end of a cut-off box; else `size`. libav reads all fragments itself."""
    kinds: set[bytes] = set()
    for box in _boxes(file, size):
        if box.kind in kinds & {b"ftyp", b"moov"} and b"moof" not in kinds:
            return box.at
        if box.kind in (b"mdat", b"moof") and box.end > size:
            return box.end
        kinds.add(box.kind)
    return size


def _boxes(file: FaultRecordingFile, size: int) -> Iterator[Box]:
    at = 0
    for _ in range(MAX_BOXES):
        head = _bytes(file, at, 16)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        length = int.from_bytes(head[8:16], "big") if length == 1 else length
        yield Box(kind, at, at + length if length else size)
        at += length
        if length < 8 or at >= size:  # 0: the last box, of any length
            return


def _variable_integer(data: bytes) -> tuple[int, int]:
    """Return the value of the EBML integer at the start of `data` (0 if it means "unknown"), and its width in bytes."""
    width = 9 - data[0].bit_length() if data and data[0] else 0
    most = (1 << 7 * width) - 1
    value = int.from_bytes(data[:width], "big") & most
    return (0 if value == most else value), width


def _bytes(file: FaultRecordingFile, at: int, count: int) -> bytes:
    """Return up to `count` bytes from a place on. Raise the error of the disk, if there is one."""
    file.seek(at)
    data = file.read(count)
    if file.fault:
        raise file.fault
    return data
