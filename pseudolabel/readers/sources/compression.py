"""Compressed files as streams: gzip, Zstandard, xz and bzip2, told apart by the suffix of the name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager

from pseudolabel.contracts import UnusableSample

CHUNK_BYTES = 1 << 17
MAX_WINDOW_BYTES = 128 << 20  # bytes of the window of Zstandard (its own limit), or the dictionary of xz
XZ_HEADER_BYTES = 2048  # stream and block header are shorter
LONG_WINDOW = (
    f"its window is longer than {MAX_WINDOW_BYTES >> 20} MB; pack it again, with zstd --long=27 or less, or with xz -9"
)
SIGNATURES = {
    ".gz": rb"\x1f\x8b",
    ".zst": rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18",
    ".xz": rb"\xfd7zXZ\0",
    ".bz2": rb"BZh[1-9]",
}
Stream = io.BufferedReader | gzip.GzipFile | lzma.LZMAFile | bz2.BZ2File


def decompress(file: io.BufferedReader, name: str) -> Stream:
    """Return the decompressed stream of a file; the file itself if its `name` has no suffix of a compressed format."""
    name = name.lower()
    suffix = next((suffix for suffix in SIGNATURES if name.endswith(suffix)), "")
    head = file.peek(6) if suffix else b""
    if head and not re.match(SIGNATURES[suffix], head):
        raise UnusableSample(f"not compressed as its suffix {suffix} says; give it the suffix of its content")
    if name.endswith(".gz"):
        return gzip.GzipFile(fileobj=file)
    if name.endswith(".zst"):
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(file), "zstd"), CHUNK_BYTES)
    if name.endswith(".xz"):
        limit = MAX_WINDOW_BYTES + (MAX_WINDOW_BYTES >> 4)  # the decoder needs memory besides the dictionary
        lzma.LZMADecompressor(memlimit=limit).decompress(file.read(XZ_HEADER_BYTES), 1)
        file.seek(0)
        return lzma.LZMAFile(file)
    return bz2.BZ2File(file) if name.endswith(".bz2") else file


@contextmanager
def decompression_errors() -> Iterator[None]:
    """Convert exceptions of a decompressor into `UnusableSample`. Keep an `OSError` of the disk: it has an errno."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as damage:
        if getattr(damage, "errno", None) is not None:  # from the system; decompressors set no errno
            raise
        told = str(damage)
        long = "too much memory" in told or "Memory usage limit" in told  # zstd, liblzma
        raise UnusableSample(LONG_WINDOW if long else f"damaged from here on: {told}") from None
