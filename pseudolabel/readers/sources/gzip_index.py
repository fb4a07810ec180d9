"""Random access to deflated data: members of a zip archive, and gzipped tar archives.

The first read of a position stores seek points. The chunks that were read last are cached (`STRETCH_BYTES` of inflated
data each). So any later read inflates one chunk at most.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import lru_cache

from pseudolabel.contracts import UnusableSample

STRETCH_BYTES = 8 << 20  # inflated bytes of a chunk
CACHED_STRETCHES = 3  # chunks per stream
SEEK_POINT_BYTES = 1 << 20  # inflated bytes between seek points; doubled while a stream needs too many
MAX_SEEK_POINTS = 512  # per stream, 32 KB each
MIN_PIECE_BYTES = 1 << 14  # inflated bytes of one read, after a larger read failed
PIECE_BYTES = 4 << 20  # inflated bytes of one read; each read begins at a seek point


class SeekableGzip:
    """A seekable gzip stream. It keeps `file` open. The file `points` may hold seek points of another process."""

    def __init__(self, file: io.BufferedReader, points: str = "") -> None:
        self._file, self._apart, self._known = file, SEEK_POINT_BYTES, False
        self._held = lru_cache(CACHED_STRETCHES)(lambda number: bytearray())  # chunk number -> its bytes read so far
        self._open()
        if os.path.exists(points):
            self._stream.import_index(points)
            self._known = True

    def export(self, points: str) -> None:
        """Save the seek points. Raise OSError if this fails, for example on a full disk."""
        try:
            self._stream.export_index(f"{points}.part")
            os.replace(f"{points}.part", points)
        except OSError:
            with suppress(OSError):
                os.remove(f"{points}.part")
            raise

    def _open(self) -> None:
        from indexed_gzip import _IndexedGzipFile

        self._file.seek(0)  # skip_crc_check below: reads are not in order
        self._stream = _IndexedGzipFile(fileobj=self._file, spacing=self._apart, skip_crc_check=True)

    def give(self, at: int, count: int) -> bytes:
        """Return at most `count` bytes from `at`, within one chunk. Raise `UnusableSample` if byte `at` is damaged."""
        number, there = divmod(at, STRETCH_BYTES)
        held = self._held(number)
        try:
            ahead = -(there + count) % PIECE_BYTES if there else 0  # 0: at a chunk's start, an earlier read goes on
            self._grow(held, number * STRETCH_BYTES, min(there + count + ahead, STRETCH_BYTES))
        except (OSError, ValueError, EOFError) as damage:
            cause = damage.__cause__ or damage
            if isinstance(cause, UnusableSample) or getattr(cause, "errno", None) is not None:  # error of the file
                raise cause from None
            if there >= len(held):
                raise UnusableSample(f"damaged from byte {at} on: cannot be inflated") from None
        return bytes(held[there : there + count])

    def _grow(self, held: bytearray, start: int, wanted: int) -> None:
        if len(held) >= wanted:
            return
        while not self._known and start + wanted > MAX_SEEK_POINTS * self._apart:
            self._apart *= 2
            self._open()
        try:
            self._read(held, start, wanted, PIECE_BYTES)
        except (OSError, ValueError, EOFError):  # use the data before the damage
            self._read(held, start, wanted, MIN_PIECE_BYTES)

    def _read(self, held: bytearray, start: int, wanted: int, most: int) -> None:
        self._stream.seek(start + len(held))
        while len(held) < wanted and (part := self._stream.read(min(wanted - len(held), most))):
            held += part

    def __del__(self) -> None:
        self._file.close()
