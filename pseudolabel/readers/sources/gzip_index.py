"""What is deflated, read from any place: a member of a zip archive, or a tar archive that is gzipped.

Seek points are noted while it is read, and the stretches that were read last are kept. So no more than a stretch is
inflated for whatever is asked for, once its place was reached a first time.
"""

from __future__ import annotations

import io
import os
from contextlib import suppress
from functools import lru_cache

from pseudolabel.contracts import UnusableSample

STRETCH_BYTES = 8 << 20  # bytes inflated and kept together
CACHED_STRETCHES = 3  # stretches of a stream
SEEK_POINT_BYTES = 1 << 20  # bytes from one seek point to the next; more, where there would be too many
MAX_SEEK_POINTS = 512  # of a stream; each takes 32 KB
MIN_PIECE_BYTES = 1 << 14  # where that fails
PIECE_BYTES = 4 << 20  # bytes inflated at once: each time, it begins at a seek point


class SeekableGzip:
    """A gzip stream in a file, which it keeps open. Seek points of another process, in the file `points`, save time."""

    def __init__(self, file: io.BufferedReader, points: str = "") -> None:
        self._file, self._apart, self._known = file, SEEK_POINT_BYTES, False
        self._held = lru_cache(CACHED_STRETCHES)(
            lambda number: bytearray()
        )  # the begin of a stretch, as far as it was wanted
        self._open()
        if os.path.exists(points):
            self._stream.import_index(points)
            self._known = True

    def export(self, points: str) -> None:
        """Save the seek points. Raises OSError where they find no room."""
        try:
            self._stream.export_index(f"{points}.part")
            os.replace(f"{points}.part", points)
        except OSError:
            with suppress(OSError):
                os.remove(f"{points}.part")
            raise

    def _open(self) -> None:
        from indexed_gzip import _IndexedGzipFile

        self._file.seek(0)  # no checksum: it is not read in order
        self._stream = _IndexedGzipFile(fileobj=self._file, spacing=self._apart, skip_crc_check=True)

    def give(self, at: int, count: int) -> bytes:
        """At most so many bytes from a place on, up to the end of a stretch. `UnusableSample` where it is damaged."""
        number, there = divmod(at, STRETCH_BYTES)
        held = self._held(number)
        try:
            ahead = -(there + count) % PIECE_BYTES if there else 0  # from 0 on: what began in the one before
            self._grow(held, number * STRETCH_BYTES, min(there + count + ahead, STRETCH_BYTES))
        except (OSError, ValueError, EOFError) as damage:
            cause = damage.__cause__ or damage
            if isinstance(cause, UnusableSample) or getattr(cause, "errno", None) is not None:  # of the file it lies in
                raise cause from None
            if there >= len(held):
                raise UnusableSample(f"damaged from byte {at} on: it does not inflate") from None
        return bytes(held[there : there + count])

    def _grow(self, held: bytearray, start: int, wanted: int) -> None:
        if len(held) >= wanted:
            return
        while not self._known and start + wanted > MAX_SEEK_POINTS * self._apart:
            self._apart *= 2
            self._open()
        try:
            self._read(held, start, wanted, PIECE_BYTES)
        except (OSError, ValueError, EOFError):  # what comes before a damage is used
            self._read(held, start, wanted, MIN_PIECE_BYTES)

    def _read(self, held: bytearray, start: int, wanted: int, most: int) -> None:
        self._stream.seek(start + len(held))
        while len(held) < wanted and (part := self._stream.read(min(wanted - len(held), most))):
            held += part

    def __del__(self) -> None:
        self._file.close()
