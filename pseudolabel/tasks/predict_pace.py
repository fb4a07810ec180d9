"""How fast is it shown? Wang et al. 2020, Self-supervised video representation learning by pace prediction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel import motion, pixels
from pseudolabel.columns import Column
from pseudolabel.readers.video import Clip
from pseudolabel.sample import Filtered
from pseudolabel.sampling import Sampling
from pseudolabel.tasks.base import Row
from pseudolabel.tasks.filmed import BOXES, FilmTask

UNEVEN = 1.5  # times the shortest step that the longest may take: of more, the pace is not one


@dataclass(frozen=True)
class PredictPace(FilmTask):
    """Show every p-th frame of a clip; the label is p.

    All paces begin with the same frame, and the film goes on until the last frame of the fastest: nothing wraps around
    at the end, as it does in the paper's code, where the seam may tell. Clips that look the same at two paces, and
    those whose frames are not evenly spaced, are left out.
    """

    name = "predict-pace"
    paper = "Wang et al. 2020, https://arxiv.org/abs/2008.05861"
    unsafe = ("leaving out frames", "interpolating frames")

    paces: Annotated[int, Option(min=2, max=16, help="Paces: every frame, every second, and so on.")] = 4
    frames: Annotated[int, Option(min=2, max=128, help="Frames shown.")] = 16
    gap: Annotated[int | None, Option(min=1, help="Frames from one frame to the next at pace 1. [1]")] = None
    gap_seconds: Annotated[
        float | None,
        Option(min=0.001, max=600, help="The same in seconds: films of several rates want it, or the rate tells."),
    ] = None

    @cached_property
    def steps(self) -> np.ndarray:
        """(paces, frames): after how many gaps each frame of each pace is shown."""
        return np.arange(1, self.paces + 1)[:, None] * np.arange(self.frames)

    @property
    def sampling(self) -> Sampling:
        every = np.unique(self.steps).tolist()
        return self.spaced(every, every[-1] + 1, 1, seconds=False)

    def columns(self) -> Sequence[Column]:
        names = tuple(f"{pace}x" for pace in range(1, self.paces + 1))
        return (
            Column("clip", "list<image>", "input", "Frames of a clip, some left out between them."),
            Column("label", "class", "label", "How many times as fast as the slowest it is shown.", names),
            Column("timestamps", "list<float64>", "about", "When each frame shown is, in seconds of the film."),
            Column("motion", "float32", "about", "Gray levels by which the two paces most alike differ on thumbnails."),
            BOXES,
        )

    def pairs(self, clip: Clip, rng: np.random.Generator) -> Iterator[Row]:
        """All frames that any pace shows, in order -> the row that shows those of one."""
        every = np.unique(self.steps)
        at = np.searchsorted(every, self.steps)
        took = np.diff(clip.times) / np.diff(every)
        if took.max() > UNEVEN * took.min():
            raise Filtered(
                f"unevenly spaced: {1000 * took.min():.0f} to {1000 * took.max():.0f} ms from frame to frame"
            )
        square = self.square(clip, rng, lambda small: motion.apart(small[at]))
        label = int(rng.integers(self.paces))
        yield {
            "clip": [pixels.jpeg(frame) for frame in square.frames[at[label]]],
            "label": label,
            "timestamps": clip.times[at[label]].tolist(),
            "motion": square.motion,
            "boxes": square.boxes[at[label]].tolist(),
        }
