"""Arrow of time: clips shown forwards or backwards. Wei et al. 2018, Learning and using the arrow of time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import TREATMENT, Clip
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.video import BOXES, TIMESTAMPS, VideoTask, frame_strip
from pseudolabel.transforms.video import motion

SHORTCUTS = (
    "black bars, camera motion and codec artefacts may also reveal the direction (Wei et al. 2018): on still scenes "
    "with a key frame per second, a guess from the changes of the frames' file sizes is right in 62 % of rows "
    "(chance: 51 %); a guess from the sizes alone, or on real videos, is right in 50 %"
)


@dataclass(frozen=True)
class ArrowOfTime(VideoTask):
    """Show each clip forwards or, with probability 1/2, backwards; the label is the direction.

    Clips that look the same backwards are skipped: nothing moves in them, or the motion is symmetric in time. If
    nothing moves, the jump of quality at key frames reveals the direction: on still scenes with a key frame per second
    and `--min-motion 0`, a guess from the changes of the frames' file sizes is right in 62 % of rows (chance: 51 %). On
    real videos, the guess is right in 50 %.
    """

    name = "arrow-of-time"
    description = Description(
        paper="Wei et al. 2018, https://doi.org/10.1109/CVPR.2018.00840; Pickup et al. 2014",
        invalidating_augmentations=("frame shuffle", "reverse in time"),
        notes=lambda task, artefacts: (SHORTCUTS, TREATMENT),
    )

    frames: Annotated[int, Option(min=2, max=128, help="Frames per clip.")] = 16

    @property
    def sampling(self) -> Sampling:
        return self.space_clips(Sampling(tuple(range(self.frames)), self.frames, gap=0.1, seconds=True))

    def columns(self) -> Sequence[Column]:
        return (
            Column("clip", "list<image>", "input", "Frames of the clip, in the order shown."),
            Column("label", "class", "label", "Direction of time in the clip.", ("forwards", "backwards")),
            TIMESTAMPS,
            Column("motion", "float32", "about", "Difference to the reversed clip, in gray levels on thumbnails."),
            BOXES,
        )

    def rows(self, clip: Clip, rng: np.random.Generator) -> Iterator[Row]:
        """Yield the row that shows the frames of the clip in order or in reverse."""
        square = self.cut_moving_square(
            clip, rng, lambda small: motion.min_pairwise_difference(np.stack([small, small[::-1]]))
        )
        label = int(rng.integers(2))
        way = slice(None, None, -1 if label else 1)
        yield {
            "clip": square.frames[way],
            "label": label,
            "timestamps": clip.times[way].tolist(),
            "motion": square.motion,
            "boxes": square.boxes[way].tolist(),
        }

    def check_row(self, row: Row, source: Clip | None) -> str | None:
        """Check that timestamps run in the direction of the label, and that frames equal the source at these times."""
        steps = np.diff(row["timestamps"])
        if not (steps < 0 if row["label"] else steps > 0).all():
            return "`timestamps` do not run in the direction of `label`"
        return self.frames_fault(row["clip"], row, source)

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the frames as shown, with their timestamps."""
        yield frame_strip("as shown", row["clip"], [f"{time:.2f} s" for time in row["timestamps"]])
