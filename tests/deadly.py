"""A task that dies of some samples: for the tests of survival. It is real in all but its purpose."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.columns import Column
from pseudolabel.sample import Chance, Sample, Skipped
from pseudolabel.tasks.base import EachSample, ImageTask, Labeler, Row, Rows


@dataclass(frozen=True)
class Deadly(ImageTask):
    """Give the picture's width back; die of pictures 13 pixels high, never return from those of 17."""

    name = "deadly"
    paper = "none"

    fail: Annotated[str, Option(help="A bug to have: raise ValueError, or storage for EIO.")] = ""

    def columns(self) -> list[Column]:
        return [Column("width", "int64", "label", "The picture's width.")]

    def pairs(self, payload: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        if payload.shape[0] == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        if payload.shape[0] == 17:
            time.sleep(3600)
        if self.fail == "bug":
            raise ValueError("a bug")
        if self.fail == "storage":
            raise OSError(5, "Input/output error", "/mnt/lost")
        yield {"width": payload.shape[1]}


@dataclass(frozen=True)
class DeadlyLate(Deadly):
    """The same, three samples at a time: the worker dies when it is on a sample that is not to blame."""

    name = "deadly-late"

    def labeler(self, artefacts: Path) -> Labeler:
        return Late(EachSample(self))


class Late(NamedTuple):
    """The labeler that takes three samples in before it begins."""

    each: EachSample

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        while group := list(islice(samples, 3)):
            yield from self.each.label(iter(group), chance, copies)
