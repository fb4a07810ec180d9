"""How fast is it shown? Wang et al. 2020, Self-supervised video representation learning by pace prediction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, FilteredSample, Piece
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import Clip
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.video import BOXES, VideoTask, frame_strip
from pseudolabel.transforms.image import codec
from pseudolabel.transforms.video import motion

MAX_GAP_RATIO = 1.25  # times --gap-seconds, or a part of it, that a whole number of frames may take
MAX_STEP_RATIO = 1.5  # times the shortest step that the longest may take: of more, the pace is not one


@dataclass(frozen=True)
class PredictPace(VideoTask):
    """Show every frame of a clip, every second, every third and so on; the label is which, from 0, named `1x`, `2x`.

    By `--gap-seconds` the slowest pace is the whole number of frames nearest to that: sources of several rates want it,
    or the rate tells. All paces begin with the same frame, and nothing wraps around at the end of the film, as it does
    in the paper's code, where the seam may tell. Left out are clips that look the same at two paces, or whose frames
    are not evenly spaced.
    """

    name = "predict-pace"
    description = Description(
        paper="Wang et al. 2020, https://arxiv.org/abs/2008.05861",
        invalidating_augmentations=("leaving out frames", "interpolating frames"),
    )

    paces: Annotated[int, Option(min=2, max=16, help="Paces: every frame, every second, and so on.")] = 4
    frames: Annotated[int, Option(min=2, max=128, help="Frames shown.")] = 16

    @cached_property
    def steps(self) -> np.ndarray:
        """(paces, frames): after how many gaps each frame of each pace is shown."""
        return np.arange(1, self.paces + 1)[:, None] * np.arange(self.frames)

    @property
    def sampling(self) -> Sampling:
        every = tuple(np.unique(self.steps).tolist())
        return self.space_clips(Sampling(every, every[-1] + 1, gap=1, seconds=False, even=True))

    def columns(self) -> Sequence[Column]:
        names = tuple(f"{pace}x" for pace in range(1, self.paces + 1))
        return (
            Column("clip", "list<image>", "input", "Frames of a clip, some left out between them."),
            Column("label", "class", "label", "How many times as fast as the slowest it is shown.", names),
            Column("timestamps", "list<float64>", "about", "When each frame shown is, in seconds of the film."),
            Column("motion", "float32", "about", "Gray levels by which the two paces most alike differ on thumbnails."),
            BOXES,
        )

    def rows(self, clip: Clip, rng: np.random.Generator) -> Iterator[Row]:
        """All frames that any pace shows, in order -> the row that shows those of one."""
        every = np.unique(self.steps)
        at = np.searchsorted(every, self.steps)
        took = np.diff(clip.times) / np.diff(every)
        if took.max() > MAX_STEP_RATIO * took.min():
            raise FilteredSample(
                f"unevenly spaced: {1000 * took.min():.0f} to {1000 * took.max():.0f} ms from frame to frame"
            )
        square = self.cut_moving_square(clip, rng, lambda small: motion.min_pairwise_difference(small[at]))
        label = int(rng.integers(self.paces))
        yield {
            "clip": [codec.jpeg(frame) for frame in square.frames[at[label]]],
            "label": label,
            "timestamps": clip.times[at[label]].tolist(),
            "motion": square.motion,
            "boxes": square.boxes[at[label]].tolist(),
        }

    def check_row(self, row: Row, source: Clip | None) -> str | None:
        """Are the frames those of their times, and these as many frames of the source apart as the label says?"""
        if fault := self.frames_fault(row["clip"], row, source):
            return fault
        if source is None:
            return None
        every = np.unique(self.steps)
        shown = every[[int(np.abs(source.times - time).argmin()) for time in row["timestamps"]]]
        return None if (np.diff(shown) == row["label"] + 1).all() else "frames are not as far apart as `label` says"

    def draw(self, row: Row) -> Iterable[Piece]:
        """The frames as they are shown, with their times."""
        yield frame_strip("as shown", row["clip"], [f"{time:.2f} s" for time in row["timestamps"]])
