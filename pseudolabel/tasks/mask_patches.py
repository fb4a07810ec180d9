"""Masked image modelling: tell what is in the hidden patches. He et al. 2022, Masked autoencoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import ceil
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UserError
from pseudolabel.tasks.base.task import Description, ImageTask, Row
from pseudolabel.transforms.image import codec, ops
from pseudolabel.transforms.image import masks as image_masks
from pseudolabel.transforms.image.crops import CropRule, crop

UNIT_PIXELS = 32  # pixels: microsoft/SimMIM, config.py


class Strategy(StrEnum):
    """Whose masks: MAE's, BEiT's, SimMIM's."""

    random = "random"
    block = "block"
    grid = "grid"


class Usual(NamedTuple):
    """What a strategy has where nothing else is given."""

    ratio: float
    min_area: float  # of the crop


DEFAULT_RATIOS = {
    Strategy.random: Usual(ratio=0.75, min_area=0.2),  # facebookresearch/mae, main_pretrain.py
    Strategy.block: Usual(ratio=75 / 196, min_area=0.08),  # microsoft/unilm, beit/README.md, --num_mask_patches 75
    Strategy.grid: Usual(ratio=0.6, min_area=0.67),  # microsoft/SimMIM, config.py and data_simmim.py
}


def _chance_level(task: MaskPatches, artefacts: Path) -> str:
    return "not a matter of classes: the hidden patches are told pixel by pixel, and the error is measured"


def _self_verifying(task: MaskPatches) -> bool:
    return True  # any patches may be hidden, if they are as many: what is in them, the picture tells


@dataclass(frozen=True)
class MaskPatches(ImageTask):
    """Hide patches of each picture; the label is which. What is in them, the picture tells: it is stored whole.

    `mask[i]` is true where patch i, counted row by row, is hidden, as `bool_masked_pos` of BEiT and SimMIM; ViTMAE
    takes random ones as `noise=mask.float()`, if its `mask_ratio` is the same. Every mask of a dataset hides as many:
    L - int(L * (1 - ratio)) of L patches where they are random, ViTMAE's own count; round(L * ratio) in blocks;
    ceil(U * ratio) of U squares in a grid.
    """

    name = "mask-patches"
    description = Description(
        paper="He et al. 2022, https://arxiv.org/abs/2111.06377; Bao et al. 2022 (BEiT); Xie et al. 2022 (SimMIM)",
        chance_level=_chance_level,
        self_verifying=_self_verifying,
    )

    strategy: Annotated[
        Strategy, Option(help="Patches at random (MAE), in blocks (BEiT), or in a coarser grid (SimMIM).")
    ] = Strategy.random
    ratio: Annotated[
        float | None, Option(min=0, max=1, help="Share of the patches hidden. [0.75; block: 75/196; grid: 0.6]")
    ] = None
    height: Annotated[int, Option(min=8, max=8192, help="Pixels of the picture's height.")] = 224
    width: Annotated[int, Option(min=8, max=8192, help="Pixels of the picture's width.")] = 224
    patch: Annotated[int, Option(min=1, help="Pixels of a patch's side.")] = 16
    unit: Annotated[
        int | None, Option(min=1, help="Pixels of the side of what --strategy grid hides as a whole. [32]")
    ] = None
    masks: Annotated[
        int, Option(min=1, max=1000, help="Masks for each picture; with more than one, `masks` lists them.")
    ] = 1
    min_area: Annotated[
        float | None,
        Option(min=0, max=1, help="Least share of the picture in the crop. [0.2; block: 0.08; grid: 0.67]"),
    ] = None
    flip: Annotated[float, Option(min=0, max=1, help="Share of the pictures that are mirrored.")] = 0.5
    render: Annotated[
        bool, Option("--render", help="Add the picture with its patches hidden, for a person to see.")
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        grid = self.strategy == Strategy.grid
        if self.unit and not grid:
            raise UserError(f"--unit is for --strategy grid, not {self.strategy}; leave it out, or give that")
        option = "--unit" if grid else "--patch"
        if self.height % self.whole or self.width % self.whole:
            sizes = f"--height {self.height} and --width {self.width}"
            raise UserError(f"{sizes} are no multiples of {option} {self.whole}; give such, as {7 * self.whole}")
        if self.whole % self.patch:
            raise UserError(
                f"--unit {self.whole} is no multiple of --patch {self.patch}; give one, as {2 * self.patch}"
            )
        if self.total < 2:
            raise UserError(f"{option} {self.whole} is the whole picture; give a smaller one, as 16")
        if self.strategy == Strategy.block and min(self.grid) < 3:
            raise UserError(f"a grid of {self.grid[0]} x {self.grid[1]} patches has no blocks; give a smaller --patch")
        if not 0 < self.count < self.total:
            raise UserError(f"--ratio {self.share:g} hides all or nothing of {self.total} patches; give one between")

    @property
    def whole(self) -> int:
        """Pixels of the side of what is hidden as a whole."""
        return (self.unit or UNIT_PIXELS) if self.strategy == Strategy.grid else self.patch

    @property
    def share(self) -> float:
        """The share of patches to be hidden: the strategy's unless given."""
        return DEFAULT_RATIOS[self.strategy].ratio if self.ratio is None else self.ratio

    @property
    def least_area(self) -> float:
        """The least crop: the strategy's unless given."""
        return DEFAULT_RATIOS[self.strategy].min_area if self.min_area is None else self.min_area

    def options(self) -> Mapping[str, Any]:
        return {
            **super().options(),
            "ratio": self.share,
            "min_area": self.least_area,
            "unit": self.whole,
            "hidden": self.count,
        }

    @property
    def grid(self) -> tuple[int, int]:
        """Patches from top to bottom and from left to right."""
        return self.height // self.patch, self.width // self.patch

    @property
    def total(self) -> int:
        """What may be hidden: patches, or squares of them."""
        return self.height * self.width // self.whole**2

    @property
    def count(self) -> int:
        """How many of these are hidden."""
        match self.strategy:
            case Strategy.random:
                return self.total - int(self.total * (1 - self.share))
            case Strategy.block:
                return round(self.total * self.share)
            case _:
                return ceil(self.total * self.share)

    def columns(self) -> Sequence[Column]:
        down, across = self.grid
        where = f"true where a patch is hidden, row by row in a grid of {down} x {across}."
        if self.masks == 1:
            mask, shown = Column("mask", "list<bool>", "label", f"{where[:1].upper()}{where[1:]}"), "image"
        else:
            mask, shown = Column("masks", "list<list<bool>>", "label", f"Of each mask: {where}"), "list<image>"
        about = (
            Column(
                "box", "list<int32>", "about", "Where the crop was: left, top, right, bottom in the upright picture."
            ),
            Column("flip", "bool", "about", "Whether it was mirrored, left to right."),
        )
        image = Column(
            "image", "image", "input", "A crop of the picture, nothing of it hidden: that is for the trainer to do."
        )
        rendered = Column("rendered", shown, "about", "The picture with its patches hidden, for a person to see.")
        return (mask, *about, image, *([rendered] if self.render else []))

    def mask(self, rng: np.random.Generator) -> np.ndarray:
        """(rows, columns) bool: a mask of the strategy."""
        match self.strategy:
            case Strategy.random:
                return image_masks.random_mask(*self.grid, self.count, rng)
            case Strategy.block:
                return image_masks.block_mask(*self.grid, self.count, rng)
            case _:
                return image_masks.grid_mask(*self.grid, self.whole // self.patch, self.count, rng)

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> the row of one picture, cropped and perhaps mirrored, with its masks."""
        height, width, _ = image.shape
        box = crop(CropRule.torchvision, height, width, (self.least_area, 1), rng, self.width / self.height)
        shown = ops.resize(image[box.top : box.bottom, box.left : box.right], self.height, self.width, cubic=True)
        flip = bool(rng.random() < self.flip)
        shown = ops.mirror(shown) if flip else shown
        masks = [self.mask(rng) for _ in range(self.masks)]
        row: Row = {"box": list(box), "flip": flip, "image": codec.jpeg(shown)}
        lists: list[list[bool]] = [mask.ravel().tolist() for mask in masks]
        row |= {"mask": lists[0]} if self.masks == 1 else {"masks": lists}
        if self.render:
            seen = [codec.jpeg(image_masks.gray_out(shown, mask, self.patch)) for mask in masks]
            row["rendered"] = seen[0] if self.masks == 1 else seen
        yield row

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Does each mask hide as many as it should, whole squares where it should, of what the source shows?"""
        squares, each = (*self.grid,), self.whole // self.patch
        for mask in [row["mask"]] if self.masks == 1 else row["masks"]:
            hides = np.array(mask, bool).reshape(squares)
            if np.count_nonzero(hides) != self.count * each**2:
                return f"{np.count_nonzero(hides)} patches are hidden, not {self.count * each**2}"
            if not np.array_equal(hides, hides[::each, ::each].repeat(each, 0).repeat(each, 1)):
                return f"patches are not hidden in squares of {self.whole} pixels"
        image = codec.decode_stored(row["image"])
        if image.shape[:2] != (self.height, self.width):
            return f"`image` is {image.shape[1]} x {image.shape[0]} pixels, not {self.width} x {self.height}"
        if source is None:
            return None
        shown = ops.resize(ops.crop(source, row["box"]), self.height, self.width, cubic=True)
        shown = ops.mirror(shown) if row["flip"] else shown
        return None if ops.equal_up_to_jpeg(image, shown) else "it is not what the source shows in `box`"

    def draw(self, row: Row) -> Iterable[Piece]:
        """The picture with its patches hidden, by its first masks, and whole."""
        image, masks = codec.decode_stored(row["image"]), [row["mask"]] if self.masks == 1 else row["masks"]
        seen = [image_masks.gray_out(image, np.array(mask).reshape(self.grid), self.patch) for mask in masks[:3]]
        yield Tiles("what is shown, and the whole", [*seen, image], 2)
