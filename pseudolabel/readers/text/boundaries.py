"""Boundaries of documents in a byte stream, which comes in chunks and may be larger than memory. A gap is a run of
white space; all other bytes are solid. A gap separates two documents if it has enough line ends (1 if a line is a
document, 2 if a paragraph is a document), or if it is longer than the maximum size of a document. A line ends with LF,
CR LF or CR, as in Python's text files; U+2028, U+2029 and other separators do not end a line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.text import streams

BLOCK_BYTES = 1 << 20  # bytes of documents that make a block, about
LOOKBACK_BYTES = 1 << 12  # bytes read per step backwards
LF, CR = 10, 13
NOT_WHITE = re.compile(rb"\S")  # any byte except `streams.WHITE_SPACE`
LINE_END = re.compile(rb"\r\n?|\n")
NO_POSITIONS = np.empty(0, np.int64)


class RawDocuments(NamedTuple):
    """Documents as bytes of the stream, not decoded. All offsets are counted from the top of the stream.

    A document that is too long is cut into pieces. Each piece is a document with the position of the whole document.
    """

    data: bytes
    at: int  # the offset of data[0]
    starts: np.ndarray  # (d,) int64
    ends: np.ndarray  # (d,) int64
    positions: np.ndarray  # (d,) int64: where the whole document starts
    at_end: bool = False  # the last document ends where the stream ends

    def texts(self) -> list[bytes]:
        """Return the bytes of each document."""
        bounds = zip((self.starts - self.at).tolist(), (self.ends - self.at).tolist(), strict=True)
        return [self.data[start:end] for start, end in bounds]


class BoundaryScanner:
    """Scanner of a stream from offset `at` on, for finding the boundaries of documents chunk by chunk.

    `line_ends` line ends separate documents; 0: only long gaps do. `gap` is the number of line ends just before `at`;
    default: enough for a document to start there. `longest` is the maximum size of a document in bytes; longer ones
    are cut at white space, else between characters of `encoding`.
    """

    def __init__(self, at: int, line_ends: int, longest: int, encoding: str = "utf-8", gap: int | None = None) -> None:
        self.at, self.line_ends, self.longest, self.encoding = at, line_ends, longest, encoding
        self.needed = max(1, line_ends)
        self.gap = self.needed if gap is None else gap
        self.open = False  # a document has started and not ended
        self.last = at  # the offset after the last solid byte
        self._after_cr = False  # the last byte was CR: LF after it ends no other line

    def find(self, chunk: bytes) -> tuple[np.ndarray, np.ndarray]:
        """Return the starts and the ends of documents in the next chunk. The first end may lie in an earlier chunk."""
        data = np.frombuffer(chunk, np.uint8)
        white = np.flatnonzero((data == 32) | (data - 9 < 5))
        before = white - np.arange(len(white))  # solid bytes before each white one: constant within a gap
        solid = len(data) - len(white)
        if self.at + np.searchsorted(before, 0, "right") - self.last > self.longest:
            self.gap = self.needed
        ends_in = before[self._ends_line(chunk, white)] if self.line_ends else NO_POSITIONS  # `before` at each line end
        gaps = np.append(np.zeros(self.gap, np.int64), ends_in)
        cuts = gaps[self.needed - 1 :][gaps[self.needed - 1 :] == gaps[: len(gaps) - self.needed + 1]]
        cuts = cuts[np.diff(cuts, prepend=-1) > 0]
        starts = self.at + (cuts + np.searchsorted(before, cuts, "right"))[cuts < solid]
        ends = np.where(cuts > 0, self.at + cuts + np.searchsorted(before, cuts), self.last)[0 if self.open else 1 :]
        self.open = bool(cuts[-1] < solid) if len(cuts) else self.open
        self.gap = min(self.needed, int(np.count_nonzero(gaps == solid)))
        self.last = self.at + solid + int(np.searchsorted(before, solid)) if solid else self.last
        self.at += len(data)
        return starts, ends

    def _ends_line(self, chunk: bytes, white: np.ndarray) -> np.ndarray:
        """Return for each white byte, at the offsets `white` of the chunk, whether it ends a line."""
        data = np.frombuffer(chunk, np.uint8)
        found: np.ndarray = data[white] == LF
        if chunk and (self._after_cr or b"\r" in chunk):
            follows_cr = np.where(white > 0, data[white - 1] == CR, self._after_cr)
            found = (data[white] == CR) | (found & ~follows_cr)
            self._after_cr = chunk.endswith(b"\r")
        return found


class DocumentBuffer:
    """Buffer of documents that are read but not yet given: those that have ended, and the one still open."""

    def __init__(self, at: int) -> None:
        self.parts: list[bytes] = []
        self.at = at  # the offset of the first part
        self.starts = self.ends = self.positions = NO_POSITIONS

    @property
    def open(self) -> bool:
        """Return whether the last document has not ended."""
        return len(self.starts) > len(self.ends)

    def add(self, chunk: bytes, starts: np.ndarray, ends: np.ndarray) -> None:
        """Add the next chunk and the boundaries found in it. Drop the chunk if it is part of no document."""
        self.starts, self.positions = np.append(self.starts, starts), np.append(self.positions, starts)
        self.ends = np.append(self.ends, ends)[: len(self.starts)]
        if len(self.starts):
            self.parts.append(chunk)
        else:
            self.at += len(chunk)

    def is_enough(self, edges: BoundaryScanner) -> bool:
        """Return whether to call `give`: the ended documents fill a block, or the open one exceeds `longest`."""
        ended = len(self.ends) > 0 and (self.starts[-1] if self.open else edges.at) - self.starts[0] >= BLOCK_BYTES
        return bool(ended or (self.open and edges.last - self.starts[-1] > edges.longest))

    def give(self, edges: BoundaryScanner) -> RawDocuments:
        """Return the ended documents and the full pieces of the open one, which reaches to `edges.last` so far."""
        data, at, is_open = b"".join(self.parts), self.at, self.open
        self.parts = []  # release early: the parts may be large
        starts, ends, positions = self.starts, np.append(self.ends, edges.last)[: len(self.starts)], self.positions
        if (ends - starts).max(initial=0) > edges.longest:
            spans = [
                (at + start, at + end, position)
                for first, until, position in zip(starts - at, ends - at, positions, strict=True)
                for start, end in split_document(data, int(first), int(until), edges.longest, edges.encoding)
            ]
            starts, ends, positions = np.array(spans, np.int64).T
        ended = len(starts) - is_open
        self.starts, self.ends, self.positions = starts[ended:], NO_POSITIONS, positions[ended:]
        self.at = int(starts[-1]) if is_open else at + len(data)
        self.parts = [data[self.at - at :]]
        return RawDocuments(data, at, starts[:ended], ends[:ended], positions[:ended])


def cut_documents(
    chunks: Iterable[bytes], edges: BoundaryScanner, stop: int
) -> Iterator[RawDocuments | tuple[int, UnusableSample]]:
    """Yield the documents that start before `stop`. Read past `stop` to find the end of the last document.

    If the stream is damaged, yield (position, error) last. The rest of the open document and later ones are lost.
    """
    held = DocumentBuffer(edges.at)
    try:
        for chunk in chunks:
            starts, ends = edges.find(chunk)
            held.add(chunk, starts[starts < stop], ends)
            done = edges.at >= stop and not held.open
            if done or held.is_enough(edges):
                yield held.give(edges)
            if done:
                return
    except UnusableSample as bad:
        yield held.give(edges)
        yield int(held.positions[-1]) if held.open else edges.at, bad
        return
    at_end = held.open and edges.last == edges.at
    if held.open:
        held.ends = np.append(held.ends, edges.last)
    yield held.give(edges)._replace(at_end=at_end)


def split_document(
    data: bytes, start: int, end: int, longest: int, encoding: str = "utf-8"
) -> Iterator[tuple[int, int]]:
    """Yield spans of data[start:end] of at most `longest` bytes, cut at white space, else between characters."""
    while end - start > longest:
        stop = max(data.rfind(white, start, start + longest + 1) for white in streams.WHITE_SPACE)
        if stop < 0:
            decoder = codecs.getincrementaldecoder(encoding)("ignore")
            decoder.decode(data[start : start + longest])
            stop = start + longest - len(decoder.getstate()[0])  # bytes of a character that is not complete
        yield start, start + len(data[start:stop].rstrip())
        start = _solid_from(data, stop)
    yield start, end


def _solid_from(data: bytes, start: int) -> int:
    found = NOT_WHITE.search(data, start)
    return found.start() if found else len(data)


def boundaries_within(
    path: str, start: int, stop: int, top: int, line_ends: int, longest: int, encoding: str
) -> BoundaryScanner:
    """Return a scanner from the first solid byte of a range on, with the line ends before that byte as `gap`."""
    at = _first_solid(path, start, stop)
    gap = _line_ends_before(path, at, top, line_ends, longest) if at < stop else 0
    return BoundaryScanner(at, line_ends, longest, encoding, gap)


def _first_solid(path: str, start: int, stop: int) -> int:
    for chunk in streams.chunks(path, start):
        start += _solid_from(chunk, 0)
        if _solid_from(chunk, 0) < len(chunk) or start >= stop:
            break
    return min(start, stop)


def _line_ends_before(path: str, at: int, top: int, needed: int, longest: int) -> int:
    """Count line ends in the gap before `at`, up to `needed`; `needed` if the gap is at `top` or exceeds `longest`."""
    low, found, after = at, 0, b""
    with streams.open_decompressed(path) as stream:
        while low > top and found < needed and at - low <= longest:
            low, high = max(top, low - LOOKBACK_BYTES), low
            stream.seek(low)
            window = stream.read(high - low)
            solid = len(window.rstrip())
            found += len(LINE_END.findall(window, solid)) - (after == b"\n" and window.endswith(b"\r"))
            after = window[:1]
            if solid:
                return needed if at - low - solid > longest else min(found, needed)
    return needed
