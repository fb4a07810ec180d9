"""Display pieces of a row. A task composes the pieces; the preview page and the terminal render them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Fact(NamedTuple):
    """A name and its value, for example `label` and `rotated by 90`."""

    name: str
    value: str


class Picture(NamedTuple):
    """An image, (H, W, 3) or (H, W) uint8, with a caption."""

    caption: str
    image: np.ndarray


class Tiles(NamedTuple):
    """A grid of images with `columns` columns. None is an empty cell. `notes` is empty or has one text per image."""

    caption: str
    images: Sequence[np.ndarray | None]
    columns: int
    notes: Sequence[str] = ()


class Span(NamedTuple):
    """A part of a text. `mark` is "" if the part is not to be predicted. Otherwise `mark` says how the input shows the
    part: "blank" (hidden), "changed" (`note` in its place) or "kept" (unchanged)."""

    text: str
    mark: str = ""
    note: str = ""


class MarkedText(NamedTuple):
    """A text as a sequence of marked spans."""

    caption: str
    spans: Sequence[Span]


class Wave(NamedTuple):
    """Audio: (n,) int16 `wave` at `rate` Hz, (f,) bool `mask` of hidden frames, (f,) `codes` drawn as colours."""

    caption: str
    wave: np.ndarray
    rate: int
    mask: np.ndarray
    codes: np.ndarray


Piece = Fact | Picture | Tiles | MarkedText | Wave


def escape_controls(text: str) -> str:
    """Escape characters that control a terminal or the writing direction, as `\\u001b` or `\\U000e0001`."""
    odd = (c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c not in "\n\t\u200d")
    return text.translate({ord(c): f"\\u{ord(c):04x}" if ord(c) < 0x10000 else f"\\U{ord(c):08x}" for c in odd})


def first_paragraph(text: str | None) -> str:
    """Return the first paragraph of a docstring as one line, "" if there is no docstring."""
    return " ".join((text or "").strip().partition("\n\n")[0].split())


def one_line(message: object) -> str:
    """Return a message of other software as one line of at most 160 characters."""
    return " ".join(str(message).split())[:160]


def number_of(count: int, noun: str) -> str:
    """Return `1 row` or `2,000 rows`, for a noun in the plural."""
    return f"{count:,} {noun[:-1] if count == 1 else noun}"


def some_of(names: Sequence[str], most: int) -> str:
    """Return the first names in words: `a, b and 3 more`."""
    return ", ".join(names[:most]) + (f" and {len(names) - most:,} more" if len(names) > most else "")


def size_text(size: float) -> str:
    """Return a number of bytes with three digits: `533 kB`."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} TB"


def shorten(value: Any) -> str:
    """Return a value as one line. Cut text after 240 characters, lists after 8 items."""
    if isinstance(value, Mapping) and value.keys() == {"bytes", "path"}:
        return f"<{len(value['bytes']):,} bytes>"
    if isinstance(value, list):
        items = [shorten(item) for item in value[:8]]
        return f"[{', '.join(items)}{f', … {len(value):,} in all' if len(value) > len(items) else ''}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "null" if value is None else " ".join(str(value).split())
    return text if len(text) <= 240 else f"{text[:240]}…"
