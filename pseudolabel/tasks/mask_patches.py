"""Masked image modelling: predict the hidden patches. He et al. 2022, Masked autoencoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from math import ceil
from typing import Annotated, Any, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UserError
from pseudolabel.tasks.base.task import Description, ImageTask, Row
from pseudolabel.transforms.image import codec, ops
from pseudolabel.transforms.image import masks as image_masks
from pseudolabel.transforms.image.crops import CropRule, crop, least_sides

UNIT_PIXELS = 32  # pixels; microsoft/SimMIM, config.py


class Strategy(StrEnum):
    """The kind of masks: random as MAE, block as BEiT, grid as SimMIM."""

    random = "random"
    block = "block"
    grid = "grid"


class Usual(NamedTuple):
    """The defaults of a strategy."""

    ratio: float
    min_area: float  # smallest share of the image in the crop


DEFAULT_RATIOS = {
    Strategy.random: Usual(ratio=0.75, min_area=0.2),  # facebookresearch/mae, main_pretrain.py
    Strategy.block: Usual(ratio=75 / 196, min_area=0.08),  # microsoft/unilm, beit/README.md, --num_mask_patches 75
    Strategy.grid: Usual(ratio=0.6, min_area=0.67),  # microsoft/SimMIM, config.py and data_simmim.py
}


BLOCKS_TELL = {
    "place": "BEiT's blocks cover the middle more often than the borders",
    "patch content": "the middle of a photograph differs from its borders",
}


@dataclass(frozen=True)
class MaskPatches(ImageTask):
    """Choose patches of each image to hide; the label is the mask. The image is stored unmasked and holds the targets.

    `mask[i]` is true if patch i, counted row by row, is hidden, as in `bool_masked_pos` of BEiT and SimMIM. ViTMAE
    takes random masks as `noise=mask.float()` if its `mask_ratio` is the same. All masks of a dataset hide the same
    number of patches: L - int(L * (1 - ratio)) of L patches for `random`, as ViTMAE; round(L * ratio) for `block`;
    ceil(U * ratio) of U squares for `grid`.
    """

    name = "mask-patches"
    description = Description(
        paper="He et al. 2022, https://arxiv.org/abs/2111.06377; Bao et al. 2022 (BEiT); Xie et al. 2022 (SimMIM)",
        chance_level="not defined; the hidden patches are predicted pixel by pixel, and the error is measured",
        self_verifying=lambda task: True,  # any mask of the right size is valid; the targets are in the image
        told_by=lambda task: BLOCKS_TELL if task.strategy == Strategy.block else {},
    )

    strategy: Annotated[
        Strategy, Option(help="Hide random patches (MAE), blocks (BEiT), or squares of a coarser grid (SimMIM).")
    ] = Strategy.random
    ratio: Annotated[
        float | None, Option(min=0, max=1, help="Share of hidden patches. [0.75; block: 75/196; grid: 0.6]")
    ] = None
    height: Annotated[int, Option(min=8, max=8192, help="Height of the image in pixels.")] = 224
    width: Annotated[int, Option(min=8, max=8192, help="Width of the image in pixels.")] = 224
    patch: Annotated[int, Option(min=1, help="Side of a patch in pixels.")] = 16
    unit: Annotated[int | None, Option(min=1, help="Side in pixels of a square that --strategy grid hides. [32]")] = (
        None
    )
    masks: Annotated[
        int, Option(min=1, max=1000, help="Masks per image; more than one: the column is `masks`, a list.")
    ] = 1
    min_area: Annotated[
        float | None,
        Option(min=0, max=1, help="Smallest share of the image in the crop. [0.2; block: 0.08; grid: 0.67]"),
    ] = None
    flip: Annotated[float, Option(min=0, max=1, help="Share of images mirrored left to right.")] = 0.5
    render: Annotated[bool, Option("--render", help="Also store the image with its patches hidden, for display.")] = (
        False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        grid = self.strategy == Strategy.grid
        if self.unit and not grid:
            raise UserError(f"--unit is for --strategy grid, not {self.strategy}; leave it out or give --strategy grid")
        option = "--unit" if grid else "--patch"
        if self.height % self.whole or self.width % self.whole:
            sizes = f"--height {self.height} and --width {self.width}"
            raise UserError(f"{sizes} are not multiples of {option} {self.whole}; give e.g. {7 * self.whole}")
        if self.whole % self.patch:
            raise UserError(
                f"--unit {self.whole} is not a multiple of --patch {self.patch}; give e.g. {2 * self.patch}"
            )
        if self.total < 2:
            raise UserError(f"{option} {self.whole} covers the whole image; give a smaller one, e.g. 16")
        if self.strategy == Strategy.block and min(self.grid) < 3:
            raise UserError(f"a grid of {self.grid[0]} x {self.grid[1]} patches is too small for blocks; lower --patch")
        if not 0 < self.count < self.total:
            raise UserError(f"--ratio {self.share:g} hides none or all of {self.total} squares; give e.g. 0.5")

    @cached_property
    def whole(self) -> int:
        """Return the side in pixels of the squares to hide: `--unit` for `grid`, else `--patch`."""
        return (self.unit or UNIT_PIXELS) if self.strategy == Strategy.grid else self.patch

    @cached_property
    def share(self) -> float:
        """Return the share of patches to hide: `--ratio` or the strategy's default."""
        return DEFAULT_RATIOS[self.strategy].ratio if self.ratio is None else self.ratio

    @cached_property
    def least_area(self) -> float:
        """Return the smallest share of the image in the crop: `--min-area` or the strategy's default."""
        return DEFAULT_RATIOS[self.strategy].min_area if self.min_area is None else self.min_area

    def options(self) -> Mapping[str, Any]:
        own = {"ratio": self.share, "min_area": self.least_area, "unit": self.whole, "hidden": self.count}
        return {**super().options(), **own}

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Return the number of rows and of columns of patches."""
        return self.height // self.patch, self.width // self.patch

    @cached_property
    def total(self) -> int:
        """Return the number of patches, or of squares for `grid`."""
        return self.height * self.width // self.whole**2

    @cached_property
    def count(self) -> int:
        """Return the number of hidden patches, or of hidden squares for `grid`."""
        match self.strategy:
            case Strategy.random:
                return self.total - int(self.total * (1 - self.share))
            case Strategy.block:
                return round(self.total * self.share)
            case _:
                return ceil(self.total * self.share)

    def columns(self) -> Sequence[Column]:
        down, across = self.grid
        where = f"true for hidden patches, row by row in a grid of {down} x {across}."
        if self.masks == 1:
            mask, shown = Column("mask", "list<bool>", "label", f"{where[:1].upper()}{where[1:]}"), "image"
        else:
            mask, shown = Column("masks", "list<list<bool>>", "label", f"For each mask: {where}"), "list<image>"
        about = (
            Column("box", "list<int32>", "about", "Box of the crop: left, top, right, bottom in the upright image."),
            Column("flip", "bool", "about", "Whether the crop was mirrored left to right."),
        )
        image = Column("image", "image", "input", "A crop of the image, with no patch hidden; the trainer hides them.")
        rendered = Column("rendered", shown, "about", "The image with its patches hidden, for display.")
        return (mask, *about, image, *([rendered] if self.render else []))

    def mask(self, rng: np.random.Generator) -> np.ndarray:
        """Return a (rows, columns) bool mask of the strategy."""
        match self.strategy:
            case Strategy.random:
                return image_masks.random_mask(*self.grid, self.count, rng)
            case Strategy.block:
                return image_masks.block_mask(*self.grid, self.count, rng)
            case _:
                return image_masks.grid_mask(*self.grid, self.whole // self.patch, self.count, rng)

    def suffices(self, height: int, width: int) -> bool:
        down, across = least_sides(CropRule.torchvision, height, width, self.least_area, self.width / self.height)
        return down >= self.height and across >= self.width

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> one row: the image, cropped and possibly mirrored, with its masks."""
        height, width, _ = image.shape
        box = crop(CropRule.torchvision, height, width, (self.least_area, 1), rng, self.width / self.height)
        shown = ops.resize(ops.crop(image, box), self.height, self.width, cubic=True)
        flip = bool(rng.random() < self.flip)
        shown = ops.mirror(shown) if flip else shown
        masks = [self.mask(rng) for _ in range(self.masks)]
        row: Row = {"box": list(box), "flip": flip, "image": shown}
        lists: list[list[bool]] = [mask.ravel().tolist() for mask in masks]
        row |= {"mask": lists[0]} if self.masks == 1 else {"masks": lists}
        if self.render:
            seen = [image_masks.gray_out(shown, mask, self.patch) for mask in masks]
            row["rendered"] = seen[0] if self.masks == 1 else seen
        yield row

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Return a fault if a mask hides a wrong number of patches or splits a square, or if the image is wrong."""
        each = self.whole // self.patch
        for mask in [row["mask"]] if self.masks == 1 else row["masks"]:
            hides = np.array(mask, bool).reshape(self.grid)
            if np.count_nonzero(hides) != self.count * each**2:
                return f"{np.count_nonzero(hides)} patches are hidden instead of {self.count * each**2}"
            if not np.array_equal(hides, hides[::each, ::each].repeat(each, 0).repeat(each, 1)):
                return f"hidden patches do not form squares of {self.whole} pixels"
        image = codec.decode_stored(row["image"])
        if image.shape[:2] != (self.height, self.width):
            return f"`image` is {image.shape[1]} x {image.shape[0]} pixels instead of {self.width} x {self.height}"
        if source is None:
            return None
        shown = ops.resize(ops.crop(source, row["box"]), self.height, self.width, cubic=True)
        shown = ops.mirror(shown) if row["flip"] else shown
        return None if ops.equal_up_to_jpeg(image, shown) else "`image` does not match `box` in the source"

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the image under each of up to three masks, and the unmasked image."""
        image, masks = codec.decode_stored(row["image"]), [row["mask"]] if self.masks == 1 else row["masks"]
        seen = [image_masks.gray_out(image, np.array(mask).reshape(self.grid), self.patch) for mask in masks[:3]]
        yield Tiles("patches hidden, and the whole image", [*seen, image], 2)
