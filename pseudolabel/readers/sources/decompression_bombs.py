"""Decompression bombs: small files that unpack to an implausible size."""

from __future__ import annotations

MAX_UNPACKED_BYTES = 64 << 20  # unpacked bytes; up to this size nothing is a bomb
MAX_EXPANSION = 200  # unpacked size / packed size; text has about 10, silence and blank pages more than 200
BOMB_REASON = f"unpacks to more than {MAX_UNPACKED_BYTES >> 20} MB and more than {MAX_EXPANSION} times its packed size"


def is_bomb(size: int, packed: int) -> bool:
    """Return whether `packed` bytes that unpack to `size` bytes are above both limits."""
    return size > MAX_UNPACKED_BYTES and size > MAX_EXPANSION * packed
