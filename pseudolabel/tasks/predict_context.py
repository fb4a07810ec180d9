"""Context prediction: where is the neighbour? Doersch et al. 2015, Unsupervised visual representation learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UnusableSample, UserError
from pseudolabel.tasks.base.task import Description, ImageTask, Row
from pseudolabel.transforms.image import codec, color, ops

SMALLEST_PATCH = 8  # pixels of the source; below, a patch shows the codec's blocks and little else
COARSE_SIDES = (10, 95)  # pixels of the side that a coarsened patch is shrunk to, for patches of 96
PLACE_NAMES = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")
PLACES = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0)])  # (8, 2): columns, rows


class Colour(StrEnum):
    """What is done against chromatic aberration, which betrays where in the lens's picture a patch was."""

    drop = "drop"
    project = "project"
    keep = "keep"


@dataclass(frozen=True)
class PredictContext(ImageTask):
    """Take two neighbouring patches of a picture; the label is where the second lies as seen from the first.

    `label` counts the eight places around `patch` row by row: 0 is above and to the left, 7 below and to the right;
    each is as likely. Between the patches there is a gap, and each is jittered, so that lines do not run on from one to
    the other. Some are coarsened, and of each all colours but one are dropped, or the axis from green to magenta is
    projected away: by the colours' fringes alone a network can tell where in the picture a patch was.
    """

    name = "predict-context"
    description = Description(
        paper="Doersch et al. 2015, https://arxiv.org/abs/1505.05192",
        invalidating_augmentations=("hflip", "vflip", "rot90", "swapping the patches"),
    )

    per_picture: Annotated[int, Option(min=1, max=1000, help="Pairs of patches, and rows, of each picture.")] = 8
    patch: Annotated[int, Option(min=8, max=4096, help="Pixels of a patch's side.")] = 96
    gap: Annotated[int, Option(min=0, help="Pixels between neighbours.")] = 48
    jitter: Annotated[int, Option(min=0, help="Pixels by which each patch may move, in each direction.")] = 7
    least_pixels: Annotated[int, Option(min=1, help="Pixels the picture is resized to, at least.")] = 150_000
    most_pixels: Annotated[int, Option(min=1, max=50_000_000, help="Pixels the picture is resized to, at most.")] = (
        450_000
    )
    coarsen: Annotated[
        float, Option(min=0, max=1, help="Share of patches that are shrunk, to as little as a tenth of the side.")
    ] = 0.33
    colour: Annotated[
        Colour, Option(help="Drop all colours but one, project the axis from green to magenta away, or keep them.")
    ] = Colour.drop

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.jitter > self.gap:
            raise UserError(f"--jitter {self.jitter} lets patches meet; give 0 to {self.gap // 2}, or a larger --gap")
        if self.most_pixels < max(self.least_pixels, self.least_side**2):
            least = max(self.least_pixels, self.least_side**2)
            raise UserError(f"--most-pixels {self.most_pixels} has no room for two patches; give {least} or more")

    @property
    def least_side(self) -> int:
        """Pixels that two patches and their jitter take."""
        return 2 * self.patch + self.gap + self.jitter

    def columns(self) -> Sequence[Column]:
        box = "Where `patch` and `neighbour` were: left, top, right, bottom in pixels of the upright picture."
        return (
            Column("label", "class", "label", "Where `neighbour` lies as seen from `patch`.", PLACE_NAMES),
            Column("boxes", "list<list<float32>>", "about", box),
            Column("patch", "image", "input", "A patch of the picture."),
            Column("neighbour", "image", "input", "One of the eight patches around it."),
        )

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> rows of two patches each."""
        height, width, _ = image.shape
        least, most = self.scales(height, width)
        scale = sqrt(rng.uniform(least**2, most**2))  # pixels are drawn uniformly, not sides
        size = np.array([round(width * scale), round(height * scale)])
        resized = ops.resize(image, int(size[1]), int(size[0]))
        for label in rng.integers(0, len(PLACES), self.per_picture).tolist():
            corners = self.corners(size, PLACES[label], rng)
            boxes = np.hstack([corners, corners + self.patch]) * np.tile([width, height] / size, 2)
            cut = [resized[y : y + self.patch, x : x + self.patch] for x, y in corners.tolist()]
            one, other = (self.without_shortcuts(patch, rng) for patch in cut)
            row = {"label": label, "boxes": boxes.tolist()}
            yield {
                **row,
                "patch": codec.jpeg(one),
                "neighbour": codec.jpeg(other),
            }

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Do the boxes lie as the label says, and do the patches show what is in them?"""
        boxes = np.array(row["boxes"])
        if len(boxes) != 2:
            return f"it has {len(boxes)} `boxes`, not 2"
        scale = self.patch / (boxes[0, 2:] - boxes[0, :2])
        corners = boxes[:, :2] * scale
        away = corners[1] - corners[0] - PLACES[row["label"]] * (self.patch + self.gap)
        if (np.abs(away) > 2 * self.jitter + 0.5).any():
            return "`boxes` do not lie as `label` says"
        if source is None:
            return None
        size = np.rint(scale * source.shape[1::-1]).astype(int).tolist()
        resized = ops.resize(source, size[1], size[0])
        for name, (x, y) in zip(("patch", "neighbour"), np.rint(corners).astype(int).tolist(), strict=True):
            if not self.matches(codec.decode_stored(row[name]), resized[y : y + self.patch, x : x + self.patch]):
                return f"`{name}` is not what the source shows in its box"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """The patch, and its neighbour where the label says."""
        around = [
            None if place != row["label"] else codec.decode_stored(row["neighbour"]) for place in range(len(PLACES))
        ]
        yield Tiles("", [*around[:4], codec.decode_stored(row["patch"]), *around[4:]], 3)

    def matches(self, patch: np.ndarray, source: np.ndarray) -> bool:
        """Whether a guarded patch is of this part of the source: by the one colour that is left, if it is one."""
        if self.colour == Colour.drop:
            return any(ops.similar_thumbnail(patch[..., [left]], source[..., [left]]) for left in range(3))
        if self.colour == Colour.project:
            source = color.project_green_magenta(source)
        return ops.similar_thumbnail(patch, source)

    def scales(self, height: int, width: int) -> tuple[float, float]:
        """How much a picture may be enlarged, at least and at most. Chance has no part in whether it can be used."""
        least, most = (sqrt(pixels / (height * width)) for pixels in (self.least_pixels, self.most_pixels))
        if self.patch / most < SMALLEST_PATCH:
            raise UnusableSample(
                f"{width} x {height} pixels, too small: a patch would show fewer than {SMALLEST_PATCH} of them"
            )
        least = max(least, self.least_side / min(height, width))
        if least > most:
            raise UnusableSample(f"{width} x {height} pixels, too narrow for two patches side by side")
        return least, most

    def corners(self, size: np.ndarray, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(2,) width and height, (2,) step -> (2, 2): left and top of a patch and of its neighbour, jittered."""
        step = place * (self.patch + self.gap)
        first = rng.integers(np.maximum(0, -step), size - self.patch - np.maximum(0, step) + 1)
        moved = np.stack([first, first + step]) + rng.integers(-self.jitter, self.jitter + 1, (2, 2))
        return np.asarray(np.clip(moved, 0, size - self.patch))

    def without_shortcuts(self, patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """A patch with what is done against shortcuts: cdoersch/deepcontext, train.py, prep_image; the paper, 3.1."""
        coarse, area, channel = rng.random(), rng.uniform(*np.square(COARSE_SIDES)), int(rng.integers(3))
        if coarse < self.coarsen:
            side = max(1, round(sqrt(area) * self.patch / 96))
            patch = ops.resize(ops.resize(patch, side, side), self.patch, self.patch)
        if self.colour == Colour.keep:
            return patch
        if self.colour == Colour.project:
            return color.project_green_magenta(patch)
        return color.drop_channels(patch, channel, rng)
