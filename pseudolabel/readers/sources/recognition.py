"""Recognition of files by their content, where the name does not tell the format."""

from __future__ import annotations

import io
import json
import re
from codecs import BOM_UTF8
from collections.abc import Collection
from contextlib import suppress

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.sources.compression import decompress, decompression_errors
from pseudolabel.readers.sources.formats import (
    HEAD_BYTES,
    KNOWN,
    PROGRAMS,
    README,
    format_of,
    strip_compression,
    suffix_of,
)

COMPRESSED_HEAD_BYTES = 1 << 20  # a block of bzip2 has 900 KB, and nothing of it is decompressed before its end
NOT_TEXT = re.compile(
    rb"\s*(?:<!doctype|<html|<\?xml|<svg|<!--|\{\\rtf|%PDF|%!PS|#!|\[\s*[\[{\"])|.*[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]",
    re.DOTALL | re.IGNORECASE,
)


def head_in_doubt(name: str, ends: Collection[str]) -> int:
    """Return how many first bytes of a file tell whether it is wanted; 0 if its name tells. `ends`: wanted suffixes.

    Compressed files and `.json` are in doubt only if text is wanted.
    """
    inner, text = strip_compression(name), ".txt" in ends
    suffix, compressed = suffix_of(inner), inner != name.lower()
    if suffix in KNOWN and not (text and suffix == ".json" and not compressed):
        return 0
    return (COMPRESSED_HEAD_BYTES if text else 0) if compressed else HEAD_BYTES


def recognise(name: str, head: bytes) -> str:
    """Return the suffix of the format of a file, given its name and its first bytes; "" if not supported."""
    inner = strip_compression(name)
    suffix, compression = suffix_of(inner), name.lower()[len(inner) :]
    if compression:
        head = _decompress(name, head)
    elif suffix not in KNOWN and (found := format_of(head)):
        return found
    if suffix in PROGRAMS or README.match(inner.rpartition("/")[2]):
        return ""
    found = _text_format(head)
    return "" if not found or (suffix == ".json" and found != ".jsonl") else found + compression


def _decompress(name: str, head: bytes) -> bytes:
    with suppress(UnusableSample), decompression_errors():
        return decompress(io.BufferedReader(io.BytesIO(head)), name).read(HEAD_BYTES)
    return b""


def _text_format(head: bytes) -> str:
    """Return ".jsonl" or ".txt"; "" for markup, other JSON, programs with `#!`, and for what has control characters.

    JSON lines begin with an object in a line of its own, and another object follows.
    """
    head = head.removeprefix(BOM_UTF8)
    text, is_whole = head.lstrip().replace(b"\r", b"\n"), len(head) < HEAD_BYTES - len(BOM_UTF8)
    if not text or NOT_TEXT.match(text):
        return ""
    if not text.startswith(b"{"):
        return ".txt"
    line, line_end, rest = text.partition(b"\n")
    if not line_end:
        return "" if is_whole or not re.match(rb'\{\s*"', line) else ".jsonl"
    return ".jsonl" if _is_object(line) and (rest.lstrip().startswith(b"{") or not (is_whole or rest.strip())) else ""


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False
