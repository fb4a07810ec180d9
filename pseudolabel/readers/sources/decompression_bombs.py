"""Decompression bombs: when what a packed file unpacks to is too much to be meant."""

from __future__ import annotations

MAX_UNPACKED_BYTES = 64 << 20  # bytes that anything may unpack to; what is larger may be
MAX_EXPANSION = 200  # times its packed size: text is packed to a tenth, silence and blank pages are beyond
BOMB_REASON = f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB, and {MAX_EXPANSION} times its packed size"


def is_bomb(size: int, packed: int) -> bool:
    """Whether so many bytes are too many for what they were packed to."""
    return size > MAX_UNPACKED_BYTES and size > MAX_EXPANSION * packed
