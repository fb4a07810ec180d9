"""Jigsaw puzzles: Noroozi & Favaro 2016, Unsupervised learning of visual representations by solving jigsaw puzzles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from math import factorial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UnusableSample, UserError
from pseudolabel.tasks.base.task import PICTURE_FACTS, Description, ImageTask, Row
from pseudolabel.transforms.image import codec, color, ops
from pseudolabel.transforms.image.permutations import permutation_set

SMALLEST_CELL = 8  # pixels of the source; a smaller tile shows mostly compression artefacts


class JigsawPreset(StrEnum):
    """The source of the default sizes: the paper's text or its authors' code."""

    paper225 = "paper225"
    code255 = "code255"


class Sizes(NamedTuple):
    """The default values of a preset; sizes in pixels."""

    permutations: int
    cell: int
    tile: int
    crop: float  # side of the crop / short side of the image
    centred: bool


PRESETS = {
    JigsawPreset.paper225: Sizes(permutations=1000, cell=75, tile=64, crop=225 / 256, centred=False),
    JigsawPreset.code255: Sizes(permutations=100, cell=85, tile=64, crop=255 / 256, centred=True),
}


@dataclass(frozen=True)
class Jigsaw(ImageTask):
    """Cut a square of each image into tiles and shuffle the tiles; the label is the permutation.

    The square is a grid of cells; each tile is cut from one cell. `permutation[i]` is the cell, counted row by row,
    from which the tile at position i was cut. Cells and tiles begin and end at whole pixels of the image, and each tile
    is resized separately; otherwise the phase of the resampling would reveal the cell of a tile.
    """

    name = "jigsaw"
    description = Description(
        paper="Noroozi & Favaro 2016, https://arxiv.org/abs/1603.09246",
        invalidating_augmentations=("hflip", "vflip", "rot90", "shuffle"),
        told_by=lambda task: dict.fromkeys(PICTURE_FACTS, "the middle of a photograph differs from its borders"),
    )

    preset: Annotated[JigsawPreset, Option(help="Default values: the paper's or its code's.")] = JigsawPreset.paper225
    grid: Annotated[int, Option(min=2, max=10, help="Tiles per side of the grid.")] = 3
    permutations: Annotated[
        int | None,
        Option(min=2, max=10_000, help="Number of permutations, which are the classes. [1000; code255: 100]"),
    ] = None
    cell: Annotated[int | None, Option(min=1, help="Side of a cell, in pixels of the tiles. [75; code255: 85]")] = None
    tile: Annotated[int | None, Option(min=1, help="Side of a tile in pixels. [64]")] = None
    jitter: Annotated[int | None, Option(min=0, help="Largest tile shift in a cell, in pixels. [cell - tile]")] = None
    gray: Annotated[float, Option(min=0, max=1, help="Share of images converted to gray.")] = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        cell, tile, jitter = self.sizes
        if tile > cell:
            raise UserError(f"--tile {tile} does not fit into --cell {cell}; give --tile 1 to {cell}")
        if jitter > cell - tile:
            raise UserError(f"--jitter {jitter} moves tiles out of their cells; give 0 to {cell - tile}")
        most = min(factorial(self.grid**2), 10_000)
        if not 2 <= self.count <= most:
            raise UserError(f"--permutations {self.count} is out of range for {self.grid**2} tiles; give 2 to {most}")

    @cached_property
    def sizes(self) -> tuple[int, int, int]:
        """Return the side of a cell, the side of a tile and the largest shift of a tile, in pixels of the tiles."""
        cell = PRESETS[self.preset].cell if self.cell is None else self.cell
        tile = PRESETS[self.preset].tile if self.tile is None else self.tile
        return cell, tile, cell - tile if self.jitter is None else self.jitter

    @cached_property
    def count(self) -> int:
        """Return the number of permutations, which are the classes."""
        preset = min(PRESETS[self.preset].permutations, factorial(self.grid**2))
        return preset if self.permutations is None else self.permutations

    def columns(self) -> Sequence[Column]:
        chosen, distance = permutation_set(self.grid**2, self.count)
        names = tuple("-".join(map(str, permutation)) for permutation in chosen.tolist())
        apart = (
            f"Index in permutations.npy; any two of the {self.count} permutations differ in {distance} places or more."
        )
        home = "permutation[i] is the cell, counted row by row, from which the tile at position i was cut."
        box = "Box of each tile: left, top, right, bottom in the upright image."
        return (
            Column("label", "class", "label", apart, names),
            Column("permutation", "list<int64>", "label", home),
            Column("boxes", "list<list<int32>>", "about", box),
            Column("tiles", "list<image>", "input", "The shuffled tiles, each encoded separately."),
        )

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Write the permutations to `permutations.npy`. Nothing is learned."""
        np.save(artefacts / "permutations.npy", permutation_set(self.grid**2, self.count)[0])

    def suffices(self, height: int, width: int) -> bool:
        return self.cut(self.place(height, width, 0, 0)[2])[0] >= self.sizes[1]

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        """(H, W, 3) uint8 -> one row. Raise `UnusableSample` if the image is too small, or its square blank."""
        x, y, which, colour = rng.random(4)
        height, width, _ = image.shape
        left, top, cell = self.place(height, width, x, y)
        tile, shift = self.cut(cell)
        if ops.is_flat(image[top : top + self.grid * cell, left : left + self.grid * cell]):
            ops.check_not_flat(image)
            raise UnusableSample("the random square has one colour")
        permutation = permutation_set(self.grid**2, self.count)[0][int(which * self.count)].tolist()
        shifts = rng.integers(0, shift + 1, (self.grid**2, 2)).tolist()
        boxes = []
        for home in permutation:
            x, y = left + home % self.grid * cell + shifts[home][0], top + home // self.grid * cell + shifts[home][1]
            boxes.append([x, y, x + tile, y + tile])
        tiles = [self.resize(ops.crop(image, box)) for box in boxes]
        yield {
            "label": int(which * self.count),
            "permutation": permutation,
            "boxes": boxes,
            "tiles": [color.to_gray(tile) if colour < self.gray else tile for tile in tiles],
        }

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Return a fault if the permutation is not that of `label`, or if a box or tile does not match its cell."""
        permutation, boxes = np.array(row["permutation"]), np.array(row["boxes"])
        if not np.array_equal(permutation_set(self.grid**2, self.count)[0][row["label"]], permutation):
            return "`permutation` is not the permutation of class `label`"
        if len(row["tiles"]) != len(boxes) or len(boxes) != self.grid**2:
            return f"the row has {len(row['tiles'])} tiles and {len(boxes)} `boxes` instead of {self.grid**2}"
        home = np.stack([permutation % self.grid, permutation // self.grid], 1)  # column and row of each cell
        before, reaches = home[:, None] < home, boxes[:, None, 2:] > boxes[:, :2]  # tile i and tile j, (n, n, 2)
        if (before & reaches).any():
            return "`boxes` do not lie in the cells of `permutation`"
        for place, (media, box) in enumerate(zip(row["tiles"], row["boxes"], strict=True)):
            if source is not None and not ops.equal_up_to_jpeg(
                *map(color.to_gray, (codec.decode_stored(media), self.resize(ops.crop(source, box))))
            ):
                return f"tile {place} does not match cell {permutation[place]} of the source"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the tiles as shuffled, and the tiles in their original cells."""
        tiles, homes_of = [codec.decode_stored(media) for media in row["tiles"]], row["permutation"]
        yield Tiles("shuffled, with the original cells", tiles, self.grid, [str(home) for home in homes_of])
        yield Tiles("in the original order", [tiles[homes_of.index(home)] for home in range(len(tiles))], self.grid)

    def place(self, height: int, width: int, x: float, y: float) -> tuple[int, int, int]:
        """Return left, top and side of a cell in pixels of the source; `x` and `y` are random numbers in [0, 1)."""
        preset = PRESETS[self.preset]
        cell = round(min(height, width) * preset.crop) // self.grid
        if cell < SMALLEST_CELL:
            raise UnusableSample(
                f"{width} x {height} pixels, too small for a grid of {self.grid} x {self.grid} tiles; try --grid 2"
            )
        side = self.grid * cell
        if preset.centred:
            return (width - side) // 2, (height - side) // 2, cell
        return int(x * (width - side + 1)), int(y * (height - side + 1)), cell

    def cut(self, cell: int) -> tuple[int, int]:
        """Return the side of a tile and its largest shift for a cell of side `cell`, all in pixels of the source."""
        of, tile, jitter = self.sizes
        side = max(1, round(cell * tile / of))
        side -= side % max(1, side // tile)  # a multiple of the factor by which `resize` shrinks
        return side, min(round(cell * jitter / of), cell - side)

    def resize(self, part: np.ndarray) -> np.ndarray:
        """Resize the part of the source that a tile shows."""
        return ops.resize(part, self.sizes[1], self.sizes[1])
