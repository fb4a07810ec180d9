"""The documents of a file as the reader finds them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pseudolabel.contracts import Sample, Skipped, Split
from pseudolabel.readers.text.blocks import Block
from pseudolabel.readers.text.reader import TextOptions, TextReader

ALL = Split("all", 0.0, 1.0)
WHITE = " \t\n\r\v\f"
Found = list[tuple[int, str]]


def found(samples: Iterable[Sample | Skipped]) -> Found:
    """Position and text of every document; "!reason" of every one skipped, "?reason" of every one filtered."""
    out: Found = []
    for sample in samples:
        if isinstance(sample, Skipped):
            out.append((int(sample.key.rpartition("#")[2]), f"{'!' if sample.unusable else '?'}{sample.reason}"))
        else:
            block: Block = sample.payload
            assert sample.count == len(block.starts) > 0
            assert (np.diff(block.positions) >= 0).all()
            inside = block.ends[block.ends < len(block.data)]
            assert all(chr(byte) in WHITE for byte in block.data[inside])
            out += [(int(position), block.text(i)) for i, position in enumerate(block.positions)]
    return sorted(out, key=lambda item: item[0])


def read(path: Path, span: int | None = None, split: Split = ALL, **options: Any) -> Found:
    """Everything in a file, by ranges of `span` bytes."""
    reader = TextReader(TextOptions(**options))
    extents = list(reader.scan(path.name, str(path), path.stat().st_size, *([span] if span else [])))
    assert len({extent.key for extent in extents}) == len(extents)
    return found(reader.read(extents, split))


def texts(items: Found) -> list[str]:
    """The texts, and the reasons of what is skipped."""
    return [text for _, text in items if not text.startswith("?")]
