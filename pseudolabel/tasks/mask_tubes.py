"""Masked video modelling: predict the content of masked tubes. Tong et al. 2022, VideoMAE."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UserError
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import Clip
from pseudolabel.tasks.base.task import Description, Row
from pseudolabel.tasks.base.video import (
    BOXES,
    CUT_HELP,
    MOTION_HELP,
    Crop,
    Framing,
    VideoTask,
    frame_strip,
    treatment_notes,
)
from pseudolabel.transforms.image import codec
from pseudolabel.transforms.image import masks as image_masks
from pseudolabel.transforms.video import motion

FRAME_GAP = 4  # frames; VideoMAE's PRETRAIN.md for Kinetics; 2 for Something-Something


@dataclass(frozen=True)
class MaskTubes(VideoTask):
    """Mask the same patches in all frames of a clip; the label is the mask. The clip is stored unmasked.

    `bool_masked_pos[i]` is true if cube i is masked. A cube is a patch in `--tubelet` consecutive frames. Cubes are in
    order of time, then row by row, as `VideoMAEForPreTraining` takes them. All frames share one mask of patches
    (MCG-NJU/VideoMAE, masking_generator.py). Every mask has the same number of patches: int(ratio * patches).
    """

    name = "mask-tubes"
    description = Description(
        paper="Tong et al. 2022, https://arxiv.org/abs/2203.12602",
        chance_level="not defined for pixels; the baseline is the mean colour of the visible patches",
        self_verifying=lambda task: True,  # any mask of the right size is valid; the targets are in the clip
        notes=treatment_notes,
    )

    frames: Annotated[int, Option(min=2, max=128, help="Frames per clip.")] = 16
    ratio: Annotated[float, Option(min=0, max=1, help="Share of the patches to mask.")] = 0.9
    patch: Annotated[int, Option(min=1, help="Side of a patch in pixels.")] = 16
    tubelet: Annotated[int, Option(min=1, help="Frames per cube.")] = 2
    min_motion: Annotated[float, Option(min=0, max=255, help=MOTION_HELP)] = 0.0
    max_cut: Annotated[float, Option(min=0, max=1, help=CUT_HELP)] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.framing.size % self.patch:
            raise UserError(f"--size {self.framing.size} is not a multiple of --patch {self.patch}; give one that is")
        if self.frames % self.tubelet:
            raise UserError(f"--frames {self.frames} is not a multiple of --tubelet {self.tubelet}; give one that is")
        if not 0 < self.hidden < self.side**2:
            raise UserError(f"--ratio {self.ratio:g} masks all or none of {self.side**2} patches; give e.g. 0.5")

    @property
    def sampling(self) -> Sampling:
        return self.space_clips(Sampling(tuple(range(self.frames)), self.frames, FRAME_GAP, seconds=False))

    @property
    def usual(self) -> Framing:
        return Framing(224, 256, Crop.random, 0)

    @property
    def side(self) -> int:
        """Return the number of patches along a side."""
        return self.framing.size // self.patch

    @property
    def hidden(self) -> int:
        """Return the number of masked patches per frame."""
        return int(self.ratio * self.side**2)

    def options(self) -> Mapping[str, Any]:
        return {**super().options(), "hidden": self.hidden}

    def columns(self) -> Sequence[Column]:
        cubes = f"{self.frames // self.tubelet} x {self.side} x {self.side}"
        return (
            Column("clip", "list<image>", "input", "Frames of the clip, not masked: the trainer applies the mask."),
            Column("bool_masked_pos", "list<bool>", "label", f"True for each masked cube, of {cubes} cubes."),
            Column("timestamps", "list<float64>", "about", "Seconds from the first frame of the video to each frame."),
            Column("motion", "float32", "about", "Mean change from frame to frame, in gray levels on thumbnails."),
            BOXES,
        )

    def rows(self, clip: Clip, rng: np.random.Generator) -> Iterator[Row]:
        """Yield the row with the frames and a random mask."""
        square = self.cut_moving_square(clip, rng, motion.mean_frame_difference)
        mask = image_masks.random_mask(self.side, self.side, self.hidden, rng).ravel()
        yield {
            "clip": square.frames,
            "bool_masked_pos": np.tile(mask, self.frames // self.tubelet).tolist(),
            "timestamps": clip.times.tolist(),
            "motion": square.motion,
            "boxes": square.boxes.tolist(),
        }

    def check_row(self, row: Row, source: Clip | None) -> str | None:
        """Check the number of masked patches, that all frames share the mask, and that frames equal the source."""
        mask = np.array(row["bool_masked_pos"], bool)
        if len(mask) != self.frames // self.tubelet * self.side**2:
            return f"`bool_masked_pos` has the wrong number of cubes: {len(mask)}"
        if len(row["clip"]) != self.frames:
            return f"`clip` has {len(row['clip'])} frames, not {self.frames}"
        tubes = mask.reshape(-1, self.side**2)
        if (tubes != tubes[0]).any() or tubes[0].sum() != self.hidden:
            return f"`bool_masked_pos` does not mask the same {self.hidden} patches in all frames"
        if any(codec.image_size(frame["bytes"]) != (self.framing.size,) * 2 for frame in row["clip"]):
            return f"not all frames are squares of {self.framing.size} pixels"
        return self.frames_fault(row["clip"], row, source)

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the masked frames, then the whole frames."""
        mask = np.array(row["bool_masked_pos"], bool)[: self.side**2].reshape(self.side, self.side)
        whole = frame_strip("the clip", row["clip"])
        yield Tiles(
            "the visible patches",
            [image_masks.gray_out(image, mask, self.patch) for image in whole.images if image is not None],
            whole.columns,
        )
        yield whole
