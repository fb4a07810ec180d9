"""What is deflated, read from any place: a member of a zip archive, or a tar archive that is gzipped.

Seek points are noted while it is read, and the stretches that were read last are kept. So no more than a stretch is
inflated for whatever is asked for, once its place was reached a first time.
"""

from __future__ import annotations

import io
from functools import lru_cache

from pseudolabel.sample import Unusable

STRETCH = 8 << 20  # bytes inflated and kept together
KEPT = 3  # stretches of a stream
APART = 1 << 20  # bytes from one seek point to the next; more, where there would be too many
POINTS = 512  # of a stream; each takes 32 KB
PIECE = 1 << 20


class Inflated:
    """A gzip stream in a file, which it keeps open."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file, self._apart = file, APART
        self._held = lru_cache(KEPT)(lambda number: bytearray())  # the begin of a stretch, as far as it was wanted
        self._open()

    def _open(self) -> None:
        from indexed_gzip import _IndexedGzipFile

        self._file.seek(0)  # no checksum: it is not read in order
        self._stream = _IndexedGzipFile(fileobj=self._file, spacing=self._apart, skip_crc_check=True)

    def give(self, at: int, count: int) -> bytes:
        """At most so many bytes from a place on, up to the end of a stretch. `Unusable` where it is damaged."""
        number, there = divmod(at, STRETCH)
        held = self._held(number)
        try:
            self._grow(held, number * STRETCH, min(there + count, STRETCH))
        except (OSError, ValueError, EOFError) as damage:
            cause = damage.__cause__ or damage
            if isinstance(cause, Unusable) or getattr(cause, "errno", None) is not None:  # of the file it lies in
                raise cause from None
            if there >= len(held):
                raise Unusable(f"damaged from byte {at} on: it does not inflate") from None
        return bytes(held[there : there + count])

    def _grow(self, held: bytearray, start: int, wanted: int) -> None:
        if len(held) >= wanted:
            return
        while start + wanted > POINTS * self._apart:
            self._apart *= 2
            self._open()
        self._stream.seek(start + len(held))
        while len(held) < wanted and (part := self._stream.read(min(wanted - len(held), PIECE))):
            held += part

    def __del__(self) -> None:
        self._file.close()
