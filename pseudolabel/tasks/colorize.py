"""Colorization: predict the colours of a gray image. Zhang et al. 2016, Colorful image colorization."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, FilteredSample, Piece, Tiles, UserError
from pseudolabel.tasks.base.task import PICTURE_FACTS, Description, ImageTask, Row
from pseudolabel.transforms.image import codec, ops
from pseudolabel.transforms.image.color import bin_centers, lab, soft_bins
from pseudolabel.transforms.image.crops import square_side, squares


@dataclass(frozen=True)
class Colorize(ImageTask):
    """Remove the colours from a square of each image; the label is the colour at each place, one of 313 bins.

    `bins[i]` is the bin nearest to a and b of CIE Lab at place i. Places are counted row by row from the first pixel,
    every `--stride` pixels in both directions. `ab_bins.npy` in the output folder has a and b of each bin. `image` is
    the lightness L, scaled from 0..100 to 0..255.
    """

    name = "colorize"
    description = Description(
        paper="Zhang et al. 2016, https://arxiv.org/abs/1603.08511",
        invalidating_augmentations=("anything that moves pixels, if it is not done to the bins as well",),
        told_by=lambda task: dict.fromkeys(PICTURE_FACTS, "light and shapes of a photograph hint at its colours"),
    )

    size: Annotated[int, Option(min=8, max=8192, help="Side of the square in pixels.")] = 176
    stride: Annotated[int, Option(min=1, help="Distance in pixels from one label to the next, in both directions.")] = 4
    soft: Annotated[int, Option(min=0, max=32, help="Also store the N nearest bins and their weights; paper: 5.")] = 0
    least_colour: Annotated[
        float,
        Option(min=0, help="Skip an image if |a| and |b| are at most this at all labels. Both are 0 in gray images."),
    ] = 5.0
    crop: Annotated[float, Option(min=0.05, max=1, help="Side of the square / short side of the image.")] = 176 / 256
    flip: Annotated[float, Option(min=0, max=1, help="Share of images mirrored left to right.")] = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.size % self.stride:
            raise UserError(f"--size {self.size} is not a multiple of --stride {self.stride}; give e.g. 176 and 4")

    def columns(self) -> Sequence[Column]:
        side = self.size // self.stride
        where = f"row by row in a grid of {side} x {side}"
        softly = (
            Column("soft_bins", "list<list<int16>>", "label", f"The {self.soft} nearest bins, nearest first, {where}."),
            Column("soft_weights", "list<list<float32>>", "label", "The weights of `soft_bins`; their sum is 1."),
        )
        return (
            Column("bins", "list<int16>", "label", f"Index in ab_bins.npy of the bin nearest to the colour, {where}."),
            *(softly if self.soft else ()),
            Column("box", "list<int32>", "about", "Box of the square: left, top, right, bottom in the image."),
            Column("flip", "bool", "about", "Whether the square was mirrored left to right."),
            Column("image", "image", "input", "The lightness of the square, one channel."),
        )

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Write the bins to `ab_bins.npy`. Nothing is learned."""
        np.save(artefacts / "ab_bins.npy", bin_centers())

    def suffices(self, height: int, width: int) -> bool:
        return square_side(height, width, self.crop) >= self.size

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> one row, of one square.

        Raise `FilteredSample` if no square has enough colour, and `UnusableSample` if the image is blank.
        """
        height, width, _ = image.shape
        flip, farthest = bool(rng.random() < self.flip), 0.0
        for box in squares(height, width, self.crop, rng):
            shown = ops.resize(ops.crop(image, box), self.size, self.size)
            if ops.is_flat(shown):
                continue
            colours = lab(ops.mirror(shown) if flip else shown)
            ab = colours[:: self.stride, :: self.stride, 1:].reshape(-1, 2)
            farthest = max(farthest, float(np.abs(ab).max()))
            if farthest > self.least_colour:
                break
        else:
            ops.check_not_flat(image)
            raise FilteredSample(
                f"no colour: a and b are at most {farthest:.1f}; give a --least-colour below {self.least_colour:g}"
            )
        near, weights = soft_bins(ab, self.soft or 1)
        row: Row = {"bins": near[:, 0].tolist(), "box": list(box), "flip": flip}
        if self.soft:
            row |= {"soft_bins": near.tolist(), "soft_weights": weights.tolist()}
        lightness = np.rint(colours[..., 0] * 2.55).clip(0, 255).astype(np.uint8)
        yield {**row, "image": lightness}

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Return a fault if the bins do not match the source's colours, or the image does not match its lightness."""
        if len(row["bins"]) != (self.size // self.stride) ** 2:
            return f"the row has {len(row['bins'])} `bins` instead of {(self.size // self.stride) ** 2}"
        if not 0 <= min(row["bins"]) <= max(row["bins"]) < len(bin_centers()):
            return f"`bins` are outside 0 to {len(bin_centers()) - 1}"
        if self.soft and [near[0] for near in row["soft_bins"]] != row["bins"]:
            return "`bins` are not the nearest bins of `soft_bins`"
        if source is None:
            return None
        shown = ops.resize(ops.crop(source, row["box"]), self.size, self.size)
        colours = lab(ops.mirror(shown) if row["flip"] else shown)
        ab = colours[:: self.stride, :: self.stride, 1:].reshape(-1, 2)
        told, nearest = (
            np.square(bin_centers()[bins] - ab).sum(1) for bins in (row["bins"], soft_bins(ab, 1)[0][:, 0])
        )
        if wrong := np.count_nonzero(told > nearest + 0.01):  # of two bins at equal distance, either is right
            return f"{wrong} of {len(ab)} `bins` do not match the colours of the source"
        lightness = np.rint(colours[..., :1] * 2.55).clip(0, 255).astype(np.uint8).repeat(3, 2)
        return (
            None
            if ops.equal_up_to_jpeg(codec.decode_stored(row["image"]), lightness)
            else "`image` does not match the lightness of the source"
        )

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the gray image, and the image in the colours of the bins."""
        import cv2

        side, lightness = self.size // self.stride, codec.decode_stored(row["image"])
        known = lightness[:: self.stride, :: self.stride, :1].astype(np.float32) / 2.55
        asked = np.concatenate([known, bin_centers()[row["bins"]].reshape(side, side, 2)], 2)
        colours = (cv2.cvtColor(asked, cv2.COLOR_Lab2RGB).clip(0, 1) * 255).astype(np.uint8)
        yield Tiles("lightness, and the colours to predict", [lightness, ops.resize(colours, self.size, self.size)], 2)
