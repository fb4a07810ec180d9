"""Pieces: what a row is drawn with, for a person to see. A task composes them; the page and the terminal show them."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np


class Fact(NamedTuple):
    """A name and what it is: `label`, `rotated by 90`."""

    name: str
    value: str


class Picture(NamedTuple):
    """(H, W, 3) or (H, W) uint8."""

    caption: str
    image: np.ndarray


class Tiles(NamedTuple):
    """Pictures in rows of `columns`, None for an empty place; a note on each, if there are any. In one row, a strip."""

    caption: str
    images: Sequence[np.ndarray | None]
    columns: int
    notes: Sequence[str] = ()


class Span(NamedTuple):
    """A stretch of text: plain; a "blank" and what fills it; or "changed" or "kept", and what is asked for there."""

    text: str
    mark: str = ""
    note: str = ""


class MarkedText(NamedTuple):
    """Text with marks."""

    caption: str
    spans: Sequence[Span]


class Wave(NamedTuple):
    """(n,) int16 to be heard, (f,) bool frames that are hidden, and (f,) codes, which are shown as colours."""

    caption: str
    wave: np.ndarray
    rate: int
    mask: np.ndarray
    codes: np.ndarray


Piece = Fact | Picture | Tiles | MarkedText | Wave


def escape_controls(text: str) -> str:
    """Text of the source for a terminal: what would steer it, or turn the direction of writing, is spelt out."""
    odd = (c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c not in "\n\t\u200d")
    return text.translate({ord(c): f"\\u{ord(c):04x}" for c in odd})


def shorten(value: Any) -> str:
    """A value in a line: of a long one, its beginning."""
    if isinstance(value, Mapping) and value.keys() == {"bytes", "path"}:
        return f"<{len(value['bytes']):,} bytes>"
    if isinstance(value, list):
        items = [shorten(item) for item in value[:8]]
        return f"[{', '.join(items)}{f', … {len(value):,} in all' if len(value) > len(items) else ''}]"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = "null" if value is None else " ".join(str(value).split())
    return text if len(text) <= 240 else f"{text[:240]}…"
