"""Shuffled clips. Xu et al. 2019, Self-supervised spatiotemporal learning via video clip order prediction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import Clip
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.video import BOXES, VideoTask, frame_strip, treatment_notes
from pseudolabel.transforms.video import motion


@dataclass(frozen=True)
class ShuffleClips(VideoTask):
    """Show consecutive short clips of a video in random order; the label is the order.

    `order[i]` is the true position of the clip shown at i, `label` the index of `order` in `itertools.permutations`
    (train_vcop.py of xudejing/video-clip-order-prediction). A row is skipped if two of its clips look alike frame by
    frame, because their order cannot be inferred. Videos that are too short for all clips are skipped.
    """

    name = "shuffle-clips"
    description = Description(
        paper="Xu et al. 2019, https://doi.org/10.1109/CVPR.2019.01058",
        invalidating_augmentations=("clip shuffle", "reverse in time"),
        notes=treatment_notes,
    )

    clips: Annotated[int, Option(min=2, max=6, help="Clips per row.")] = 3
    frames: Annotated[int, Option(min=2, max=128, help="Frames per clip.")] = 16
    interval: Annotated[int, Option(min=0, max=10_000, help="Frames left out between clips, in steps of --gap.")] = 8

    @property
    def sampling(self) -> Sampling:
        each = self.frames + self.interval
        steps = tuple(clip * each + frame for clip in range(self.clips) for frame in range(self.frames))
        return self.space_clips(Sampling(steps, self.clips * each, gap=1, seconds=False))

    @cached_property
    def orders(self) -> list[tuple[int, ...]]:
        """Return all orders; the index is the label."""
        return list(permutations(range(self.clips)))

    def columns(self) -> Sequence[Column]:
        names = tuple("-".join(map(str, order)) for order in self.orders)
        return (
            Column("clips", "list<list<image>>", "input", "Clips in the order shown; frames in temporal order."),
            Column("order", "list<int32>", "label", "True position, from 0, of each clip shown."),
            Column("label", "class", "label", "The order, as true positions of the clips shown.", names),
            Column(
                "timestamps",
                "list<list<float64>>",
                "about",
                "Seconds from the first frame of the video to each frame.",
            ),
            Column("motion", "float32", "about", "Smallest difference of two clips, in gray levels on thumbnails."),
            BOXES._replace(meaning="Position of each clip's square: left, top, right, bottom in the resized frame."),
        )

    def rows(self, clip: Clip, rng: np.random.Generator) -> Iterator[Row]:
        """Yield the row that shows the clips in random order. `clip` holds the frames of all clips, in order."""
        square = self.cut_moving_square(
            clip, rng, lambda small: motion.min_pairwise_difference(self._each(small)), unit=self.frames
        )
        label = int(rng.integers(len(self.orders)))
        order = list(self.orders[label])
        yield {
            "clips": self._each(square.frames)[order],
            "order": order,
            "label": label,
            "timestamps": self._each(clip.times)[order].tolist(),
            "motion": square.motion,
            "boxes": self._each(square.boxes)[order, 0].tolist(),
        }

    def check_row(self, row: Row, source: Clip | None) -> str | None:
        """Check that `label` matches `order`, that timestamps sorted by `order` rise, and frames equal the source."""
        if self.orders[row["label"]] != tuple(row["order"]):
            return "`label` is not the class of `order`"
        if (np.diff(np.concatenate([row["timestamps"][i] for i in np.argsort(row["order"])])) <= 0).any():
            return "`timestamps` sorted by `order` do not rise"
        return self.frames_fault([frame for clip in row["clips"] for frame in clip], row, source)

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the clips as shown."""
        for clip, times, place in zip(row["clips"], row["timestamps"], row["order"], strict=True):
            yield frame_strip(f"true position {place}, {times[0]:.2f} to {times[-1]:.2f} s", clip)

    def _each(self, values: np.ndarray) -> np.ndarray:
        """Split `(clips * frames, ...)` into `(clips, frames, ...)`."""
        return values.reshape(self.clips, self.frames, *values.shape[1:])
