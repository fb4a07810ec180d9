"""Decompression bombs: when what a packed file unpacks to is too much to be meant."""

from __future__ import annotations

UNPACKED = 64 << 20  # bytes that anything may unpack to; what is larger may be
SWOLLEN = 200  # times its packed size: text is packed to a tenth, silence and blank pages are beyond
BOMB = f"unpacks to more than {UNPACKED >> 20} MB, and {SWOLLEN} times its packed size"


def is_bomb(size: int, packed: int) -> bool:
    """Whether so many bytes are too many for what they were packed to."""
    return size > UNPACKED and size > SWOLLEN * packed
