"""Rotation: Gidaris et al. 2018, Unsupervised representation learning by predicting image rotations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UnusableSample
from pseudolabel.readers.image.reader import ImageReader
from pseudolabel.tasks.base.task import Description, ImageTask, Reader, Row
from pseudolabel.transforms.image import codec, ops
from pseudolabel.transforms.image.crops import square_side, squares

TURNS = ("0", "90", "180", "270")  # degrees, counter-clockwise


@dataclass(frozen=True)
class Rotate(ImageTask):
    """Rotate a square of each image by 0, 90, 180 and 270 degrees; the label is the rotation.

    `label` counts quarter turns counter-clockwise, as `numpy.rot90`. The square is cropped and mirrored before the
    rotation (gidariss/FeatureLearningRotNet, dataloader.py). A later mirroring would make 90 degrees look like 270. If
    a file has fewer chroma samples in one direction (JPEG 4:2:2), the other direction is reduced to the same number;
    otherwise the chroma would reveal the rotation. In noise of JPEG quality 95, a linear model is right in 27 % of
    rows; without the reduction, in 54 %. The loss by quantisation also differs by direction and is not equalised: with
    noise of quality 85, the model is right in 46 % of rows. The rows of an image are in random order.
    """

    name = "rotate"
    description = Description(
        paper="Gidaris et al. 2018, https://arxiv.org/abs/1803.07728",
        invalidating_augmentations=("hflip", "vflip", "rot90"),
        told_by=lambda task: {
            **dict.fromkeys(
                ("border pixels", "block grid", "gradients", "chroma"), "photographs have an up and a down"
            ),
            "earlier rows of the sample": "each image gives one row of each rotation",
        },
    )

    size: Annotated[int, Option(min=8, max=8192, help="Side of the square in pixels.")] = 224
    crop: Annotated[float, Option(min=0.05, max=1, help="Side of the square / short side of the image.")] = 224 / 256
    flip: Annotated[float, Option(min=0, max=1, help="Share of images mirrored before the rotation.")] = 0.5

    def reader(self) -> Reader:
        return ImageReader(self, self.suffices, even_chroma=True)

    def suffices(self, height: int, width: int) -> bool:
        return square_side(height, width, self.crop) >= self.size

    def columns(self) -> Sequence[Column]:
        return (
            Column("label", "class", "label", "Rotation in degrees, counter-clockwise.", TURNS),
            Column("box", "list<int32>", "about", "Box of the square: left, top, right, bottom in the image."),
            Column("flip", "bool", "about", "Whether the square was mirrored left to right before the rotation."),
            Column("image", "image", "input", "The rotated square."),
        )

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> four rows, one per rotation. Raise `UnusableSample` if 0 and 180 degrees look the same."""
        height, width, _ = image.shape
        flip = bool(rng.random() < self.flip)
        for box in squares(height, width, self.crop, rng):
            shown = ops.resize(ops.crop(image, box), self.size, self.size)
            if not np.array_equal(shown, ops.rotate_quarters(shown, 2)):
                break
        else:
            ops.check_not_flat(image)
            raise UnusableSample("looks the same upside down in all ten random squares")
        shown = ops.mirror(shown) if flip else shown
        for turn in rng.permutation(4).tolist():  # a fixed order would tell the label to a reader that does not shuffle
            yield {"label": turn, "box": list(box), "flip": flip, "image": ops.rotate_quarters(shown, turn)}

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Return a fault if the image, rotated back by its label, does not match its box in the source."""
        if source is None:
            return None
        back = ops.rotate_quarters(codec.decode_stored(row["image"]), -row["label"] % 4)
        shown = ops.resize(ops.crop(source, row["box"]), self.size, self.size)
        shown = ops.mirror(shown) if row["flip"] else shown
        return None if ops.equal_up_to_jpeg(back, shown) else "`image` rotated back by `label` does not match `box`"

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the image, and the image rotated back."""
        image = codec.decode_stored(row["image"])
        yield Tiles("rotated, and rotated back", [image, ops.rotate_quarters(image, -row["label"] % 4)], 2)
