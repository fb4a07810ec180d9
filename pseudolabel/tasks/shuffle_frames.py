"""Shuffled frames. Misra et al. 2016, Shuffle and learn; Lee et al. 2017, Sorting sequences."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from itertools import permutations
from typing import Annotated, Any

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, UserError
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import Clip
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.video import BOXES, TIMESTAMPS, Crop, Framing, VideoTask, frame_strip, treatment_notes
from pseudolabel.transforms.video import motion

IN_ORDER_SHARE = 0.25  # share of rows in order with --preset verify; the paper found 75 % negatives best
PRESET_HELP = (
    "order: the label is the order. opn: the order up to reversal; 80-pixel squares where most motion is, jitter 5. "
    "verify: whether the frames are in order."
)
VERIFY_FRAMES = np.array([(1, 0, 3), (1, 4, 3), (1, 2, 3)])  # of five frames; only the last triple is in order


class FramePreset(StrEnum):
    """The kind of label: the order, the order up to reversal, or whether frames are in order."""

    order = "order"
    opn = "opn"
    verify = "verify"


@dataclass(frozen=True)
class ShuffleFrames(VideoTask):
    """Show frames of a clip in random order; the label is the order.

    `order[i]` is the true position of the frame shown at i; `timestamps` rise if frames are sorted by `order`. `label`
    is the index of the order in `itertools.permutations`. With `--preset opn`, an order and its reverse are one class.
    The class is named after the order that has the first frame before the last: 12 classes for 4 frames (Lee et al.
    2017). The trainer must reduce frames to one channel, as Lee et al. do. With `--preset verify`, three of five frames
    are shown, in half of the rows backwards; the label is whether they are in order. In time, the middle frame is
    between the other two, or before or after both (Misra et al. 2016: (b, c, d), (b, a, d), (b, e, d)). Clips with two
    frames that look alike are skipped, because their order cannot be inferred.
    """

    name = "shuffle-frames"
    description = Description(
        paper="Lee et al. 2017, https://arxiv.org/abs/1708.01246; Misra et al. 2016, https://arxiv.org/abs/1603.08561",
        invalidating_augmentations=("frame shuffle", "reverse in time"),
        notes=treatment_notes,
    )

    preset: Annotated[FramePreset, Option(help=PRESET_HELP)] = FramePreset.order
    frames: Annotated[int | None, Option(min=2, max=7, help="Frames per row. [4; verify: 3 of 5]")] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset == FramePreset.verify and self.frames not in (None, 3):
            raise UserError("--preset verify shows three frames; leave --frames out")
        if self.preset == FramePreset.opn and self.frames == 2:
            raise UserError(
                "--preset opn counts an order and its reverse as one, and two frames have no other order; "
                "give --frames 3 or more"
            )

    @property
    def frames_shown(self) -> int:
        """Return the number of frames per row."""
        return self.frames or (3 if self.preset == FramePreset.verify else 4)

    @property
    def usual(self) -> Framing:
        opn = Framing(80, 240, Crop.busiest, 5)  # HsinYingLee/OPN, UCF_datalayers.py: 80 pixels, cut from 100
        return opn if self.preset == FramePreset.opn else super().usual

    @property
    def sampling(self) -> Sampling:
        count = 5 if self.preset == FramePreset.verify else self.frames_shown
        return self.space_clips(Sampling(tuple(range(count)), count, gap=0.5, seconds=True))

    def options(self) -> Mapping[str, Any]:
        return {**super().options(), "frames": self.frames_shown}

    @cached_property
    def classes(self) -> Mapping[tuple[int, ...], int]:
        """Return the class of every possible order."""
        if self.preset == FramePreset.verify:
            return {tuple(way): int(i == 2) for i, o in enumerate(VERIFY_FRAMES.tolist()) for way in (o, o[::-1])}
        orders = list(permutations(range(self.frames_shown)))
        if self.preset == FramePreset.order:
            return {order: i for i, order in enumerate(orders)}
        kept = [order for order in orders if order.index(0) < order.index(self.frames_shown - 1)]
        return {way: i for i, order in enumerate(kept) for way in (order, order[::-1])}

    def columns(self) -> Sequence[Column]:
        if self.preset == FramePreset.verify:
            names: tuple[str, ...] = ("out of order", "in order")
            label = Column("label", "class", "label", "Whether the frames are in order, forwards or backwards.", names)
        else:
            orders = {label: order for order, label in [*self.classes.items()][::-1]}  # the first of each class
            names = tuple("-".join(map(str, orders[label])) for label in range(len(orders)))
            label = Column("label", "class", "label", "The order, as true positions of the frames shown.", names)
        of = " among five frames" if self.preset == FramePreset.verify else ""
        return (
            Column("frames", "list<image>", "input", "Frames of the clip, in the order shown."),
            Column("order", "list<int32>", "label", f"True position{of}, from 0, of each frame shown."),
            label,
            TIMESTAMPS,
            Column("motion", "float32", "about", "Smallest difference of two frames, in gray levels on thumbnails."),
            BOXES,
        )

    def draw_order(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the order: the true positions of the frames to show."""
        if self.preset != FramePreset.verify:
            return rng.permutation(self.frames_shown)
        chosen = 2 if rng.random() < IN_ORDER_SHARE else int(rng.integers(2))
        return np.asarray(VERIFY_FRAMES[chosen][:: 1 if rng.random() < 0.5 else -1])

    def rows(self, clip: Clip, rng: np.random.Generator) -> Iterator[Row]:
        """Yield the row that shows the frames of the clip in random order."""
        square = self.cut_moving_square(clip, rng, motion.min_pairwise_difference)
        order = self.draw_order(rng)
        yield {
            "frames": square.frames[order],
            "order": order.tolist(),
            "label": self.classes[tuple(order.tolist())],
            "timestamps": clip.times[order].tolist(),
            "motion": square.motion,
            "boxes": square.boxes[order].tolist(),
        }

    def check_row(self, row: Row, source: Clip | None) -> str | None:
        """Check that `label` matches `order`, that timestamps sorted by `order` rise, and frames equal the source."""
        if self.classes.get(tuple(row["order"])) != row["label"]:
            return "`label` is not the class of `order`"
        if (np.diff(np.array(row["timestamps"])[np.argsort(row["order"])]) <= 0).any():
            return "`timestamps` sorted by `order` do not rise"
        return self.frames_fault(row["frames"], row, source)

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the frames as shown, and in order."""
        home, times = np.argsort(row["order"]).tolist(), [f"{time:.2f} s" for time in row["timestamps"]]
        yield frame_strip("as shown, with true positions", row["frames"], [str(place) for place in row["order"]])
        yield frame_strip("in order", [row["frames"][i] for i in home], [times[i] for i in home])
