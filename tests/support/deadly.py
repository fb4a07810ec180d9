"""A task that dies of some samples: for the tests of survival. It is real in all but its purpose."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Chance, Column, Extent, Sample, Skipped, Split
from pseudolabel.readers.image.reader import ImageReader
from pseudolabel.readers.text.blocks import Block
from pseudolabel.tasks.base.task import Description, ImageTask, Labeler, PerSampleLabeler, Reader, Row, Rows, SampleTask
from pseudolabel.tasks.base.text import TextTask


@dataclass(frozen=True)
class Deadly(ImageTask):
    """Give the picture's width back; die of pictures 13 pixels high, never return from those of 17."""

    name = "deadly"
    description = Description(paper="none")

    fail: Annotated[str, Option(help="A bug: ValueError of all, or of one 11 pixels high; or storage, EIO.")] = ""
    stick: Annotated[str, Option(help="Where it never returns: label, read or observe.")] = "label"

    observed_megabytes = 1

    def columns(self) -> list[Column]:
        return [Column("width", "int64", "label", "The picture's width.")]

    def rows(self, payload: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        if payload.shape[0] == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if payload.shape[0] == 17 and self.stick == "label":
            never_return()
        if self.fail == "bug":
            raise ValueError("a bug")
        if self.fail == "one" and payload.shape[0] == 11:
            raise ValueError("a bug")
        if self.fail == "one":
            time.sleep(3)
            Path(os.environ["TRACE"], str(payload.shape[1])).touch()  # still at work
        if self.fail == "storage":
            raise OSError(5, "Input/output error", "/mnt/lost")
        yield {"width": payload.shape[1]}

    def reader(self) -> Reader:
        return Snare(self) if self.stick == "read" else ImageReader(self)

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        for sample in samples:
            if sample.payload.shape[0] == 17:
                never_return()
            yield np.array([sample.payload.shape[1]])

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        (artefacts / "widths.txt").write_text(" ".join(str(width[0]) for width in seen))


class Snare(ImageReader):
    """The reader whose decoder never returns."""

    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]:
        for item in super().read(extents, split):
            if isinstance(item, Sample) and item.payload.shape[0] == 17:
                never_return()
            yield item


def never_return() -> None:
    """Native code that holds the interpreter's lock: no other thread runs, and no handler of a signal."""
    ctypes.PyDLL(None).pause()


@dataclass(frozen=True)
class DeadlyLate(Deadly):
    """The same, three samples at a time: the worker dies when it is on a sample that is not to blame."""

    name = "deadly-late"

    def labeler(self, artefacts: Path) -> Labeler:
        return Late(PerSampleLabeler(self, self.columns()))


class Late(NamedTuple):
    """The labeler that takes three samples in before it begins."""

    each: PerSampleLabeler

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        while group := list(islice(samples, 3)):
            yield from self.each.label(iter(group), chance, copies)


@dataclass(frozen=True)
class DeadlyText(TextTask, SampleTask):
    """Count a block's documents; never return from a block that has the word `trap`."""

    name = "deadly-text"
    description = Description("none")

    def columns(self) -> list[Column]:
        return [Column("documents", "int64", "label", "How many documents the block has.")]

    def rows(self, payload: Block, rng: np.random.Generator) -> Iterator[Row]:
        if b"trap" in payload.data.tobytes():
            never_return()
        yield {"documents": len(payload.starts)}
