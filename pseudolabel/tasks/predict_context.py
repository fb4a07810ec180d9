"""Context prediction: Doersch et al. 2015, Unsupervised visual representation learning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import sqrt
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UnusableSample, UserError
from pseudolabel.readers.image.reduction import FACTORS
from pseudolabel.tasks.base.task import Description, ImageTask, Row
from pseudolabel.transforms.image import codec, color, ops

SMALLEST_PATCH = 8  # pixels of the source; a smaller patch shows mostly compression artefacts
COARSE_SIDES = (10, 95)  # pixels; range of the side to which a patch of 96 pixels is downsampled
PLACE_NAMES = ("above left", "above", "above right", "left", "right", "below left", "below", "below right")
PLACES = np.array([(x, y) for y in (-1, 0, 1) for x in (-1, 0, 1) if (x, y) != (0, 0)])  # (8, 2): columns, rows


class Colour(StrEnum):
    """The measure against chromatic aberration, which reveals the position of a patch in the image."""

    drop = "drop"
    project = "project"
    keep = "keep"


@dataclass(frozen=True)
class PredictContext(ImageTask):
    """Cut pairs of neighbouring patches from each image; the label is the place of the second relative to the first.

    `label` counts the eight positions around `patch` row by row: 0 is above left, 7 is below right; all are equally
    likely. A gap between the patches and a jitter of each patch interrupt lines that both patches would share. Some
    patches are downsampled and enlarged. All colour channels but one are dropped, or the green-magenta axis is
    projected away; otherwise a network can infer the position of a patch in the image from its colour fringes.
    Patches begin and end at whole pixels of the image and are resized separately, so all have one resampling phase.
    """

    name = "predict-context"
    description = Description(
        paper="Doersch et al. 2015, https://arxiv.org/abs/1505.05192",
        invalidating_augmentations=("hflip", "vflip", "rot90", "swapping the patches"),
        told_by=lambda task: {"border pixels": "the facing borders of neighbouring patches resemble each other"},
    )

    per_picture: Annotated[int, Option(min=1, max=1000, help="Rows (pairs of patches) per image.")] = 8
    patch: Annotated[int, Option(min=8, max=4096, help="Side of a patch in pixels.")] = 96
    gap: Annotated[int, Option(min=0, help="Pixels between neighbouring patches.")] = 48
    jitter: Annotated[int, Option(min=0, help="Largest shift of a patch in pixels, in each direction.")] = 7
    least_pixels: Annotated[int, Option(min=1, help="Smallest size of a resized image, in pixels.")] = 150_000
    most_pixels: Annotated[int, Option(min=1, max=50_000_000, help="Largest size of a resized image, in pixels.")] = (
        450_000
    )
    coarsen: Annotated[
        float, Option(min=0, max=1, help="Share of patches downsampled, to 1/10 of the side at least, then enlarged.")
    ] = 0.33
    colour: Annotated[
        Colour, Option(help="Drop all colour channels but one, project the green-magenta axis away, or keep all.")
    ] = Colour.drop

    def __post_init__(self) -> None:
        super().__post_init__()
        if 2 * self.jitter > self.gap:
            raise UserError(f"--jitter {self.jitter} lets patches overlap; give 0 to {self.gap // 2} or a larger --gap")
        if self.most_pixels < max(self.least_pixels, self.least_side**2):
            least = max(self.least_pixels, self.least_side**2)
            raise UserError(
                f"--most-pixels {self.most_pixels} is too small for --least-pixels or two patches; give {least} or more"
            )

    @property
    def least_side(self) -> int:
        """Return the shortest side in pixels that holds two patches, the gap and the jitter."""
        return 2 * self.patch + self.gap + self.jitter

    def columns(self) -> Sequence[Column]:
        box = "Boxes of `patch` and `neighbour`: left, top, right, bottom in the upright image."
        return (
            Column("label", "class", "label", "Position of `neighbour` relative to `patch`.", PLACE_NAMES),
            Column("boxes", "list<list<int32>>", "about", box),
            Column("patch", "image", "input", "A patch of the image."),
            Column("neighbour", "image", "input", "One of the eight patches around `patch`."),
        )

    def suffices(self, height: int, width: int) -> bool:
        return self.scales(height, width)[1] <= 1

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> rows with two patches each. Raise `UnusableSample` if the image is blank or too small."""
        height, width, _ = image.shape
        least, most = self.scales(height, width)
        ops.check_not_flat(image)
        side = int(self.patch / sqrt(rng.uniform(least**2, most**2)))  # uniform in pixels, not in the side
        side -= side % max(1, side // self.patch)  # a multiple of the factor by which `resize` shrinks
        for label in rng.integers(0, len(PLACES), self.per_picture).tolist():
            corners = self.corners(np.array([width, height]), side, PLACES[label], rng)
            boxes = np.hstack([corners, corners + side]).tolist()
            one, other = (self.without_shortcuts(self.resize(ops.crop(image, box)), rng) for box in boxes)
            yield {"label": label, "boxes": boxes, "patch": one, "neighbour": other}

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Return a fault if the boxes contradict the label, or a patch does not match its box."""
        boxes = np.array(row["boxes"])
        if len(boxes) != 2:
            return f"the row has {len(boxes)} `boxes` instead of 2"
        step, jitter = self.spacing(boxes[0, 2] - boxes[0, 0])
        most = 2 * jitter + FACTORS[0] - 1  # boxes that were drawn in a reduced image lie in steps of up to 8 pixels
        if (np.abs(boxes[1] - boxes[0] - step * np.tile(PLACES[row["label"]], 2)) > most).any():
            return "`boxes` contradict `label`"
        for name, box in zip(("patch", "neighbour"), row["boxes"], strict=True):
            if source is not None and not self.matches(
                codec.decode_stored(row[name]), self.resize(ops.crop(source, box))
            ):
                return f"`{name}` does not match its box in the source"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the patch, with its neighbour at the position of the label."""
        around = [
            None if place != row["label"] else codec.decode_stored(row["neighbour"]) for place in range(len(PLACES))
        ]
        yield Tiles("", [*around[:4], codec.decode_stored(row["patch"]), *around[4:]], 3)

    def matches(self, patch: np.ndarray, source: np.ndarray) -> bool:
        """Return whether a stored patch matches this part of the source; for `drop`, in any one channel."""
        if self.colour == Colour.drop:
            return any(ops.similar_thumbnail(patch[..., [left]], source[..., [left]]) for left in range(3))
        if self.colour == Colour.project:
            source = color.project_green_magenta(source)
        return ops.similar_thumbnail(patch, source)

    def scales(self, height: int, width: int) -> tuple[float, float]:
        """Return the smallest and largest scale; neither is random. Raise `UnusableSample` if no scale is possible."""
        least, most = (sqrt(pixels / (height * width)) for pixels in (self.least_pixels, self.most_pixels))
        if self.patch / most < SMALLEST_PATCH:
            raise UnusableSample(
                f"{width} x {height} pixels, too small: a side of a patch covers fewer than {SMALLEST_PATCH} pixels; "
                "give a smaller --most-pixels"
            )
        least = max(least, self.least_side / min(height, width))
        if least > most:
            raise UnusableSample(f"{width} x {height} pixels, too narrow for two patches side by side")
        return least, most

    def spacing(self, side: int) -> tuple[int, int]:
        """Return the step from patch to patch and the largest jitter for a side of a patch, in pixels of the source."""
        return side + self.gap * side // self.patch, self.jitter * side // self.patch

    def corners(self, size: np.ndarray, side: int, place: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(2,) width and height, (2,) direction -> (2, 2): left and top of a patch and its neighbour, with jitter."""
        apart, jitter = self.spacing(side)
        step = place * apart
        first = rng.integers(np.maximum(0, -step), size - side - np.maximum(0, step) + 1)
        moved = np.stack([first, first + step]) + rng.integers(-jitter, jitter + 1, (2, 2))
        return np.asarray(np.clip(moved, 0, size - side))

    def resize(self, part: np.ndarray) -> np.ndarray:
        """Resize the part of the source that a patch shows."""
        return ops.resize(part, self.patch, self.patch)

    def without_shortcuts(self, patch: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Downsample at random and reduce colours: cdoersch/deepcontext, train.py, prep_image; paper, section 3.1."""
        coarse, area, channel = rng.random(), rng.uniform(*np.square(COARSE_SIDES)), int(rng.integers(3))
        if coarse < self.coarsen:
            side = max(1, round(sqrt(area) * self.patch / 96))
            patch = ops.resize(ops.resize(patch, side, side), self.patch, self.patch)
        if self.colour == Colour.keep:
            return patch
        if self.colour == Colour.project:
            return color.project_green_magenta(patch)
        return color.drop_channels(patch, channel, rng)
