"""Jigsaw puzzles: Noroozi & Favaro 2016, Unsupervised learning of visual representations by solving jigsaw puzzles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from math import factorial
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, Piece, Tiles, UnusableSample, UserError
from pseudolabel.tasks.base.task import Description, ImageTask, Row
from pseudolabel.transforms.image import codec, color, ops
from pseudolabel.transforms.image.permutations import permutation_set

SMALLEST_CELL = 8  # pixels of the source; below, a tile shows the codec's blocks and little else


class JigsawPreset(StrEnum):
    """Where the sizes come from: the paper's text, or its authors' code."""

    paper225 = "paper225"
    code255 = "code255"


class Sizes(NamedTuple):
    """What a preset stands for."""

    permutations: int
    cell: int
    tile: int
    crop: float  # side of the crop over the picture's short side
    centred: bool


PRESETS = {
    JigsawPreset.paper225: Sizes(permutations=1000, cell=75, tile=64, crop=225 / 256, centred=False),
    JigsawPreset.code255: Sizes(permutations=100, cell=85, tile=64, crop=255 / 256, centred=True),
}


@dataclass(frozen=True)
class Jigsaw(ImageTask):
    """Cut a square of each picture into tiles, shuffle them, and label them with the permutation used.

    `permutation[i]` is the home of the tile at position i: the cell it was cut from, counted row by row.
    """

    name = "jigsaw"
    description = Description(
        paper="Noroozi & Favaro 2016, https://arxiv.org/abs/1603.09246",
        invalidating_augmentations=("hflip", "vflip", "rot90", "shuffle"),
    )

    preset: Annotated[JigsawPreset, Option(help="Sizes of the paper's text, or of its authors' code.")] = (
        JigsawPreset.paper225
    )
    grid: Annotated[int, Option(min=2, max=10, help="Tiles on each side.")] = 3
    permutations: Annotated[int | None, Option(min=2, max=10_000, help="Size of the set. [1000; code255: 100]")] = None
    cell: Annotated[int | None, Option(min=1, help="Pixels of a cell's side. [75; code255: 85]")] = None
    tile: Annotated[int | None, Option(min=1, help="Pixels of a tile's side. [64]")] = None
    jitter: Annotated[int | None, Option(min=0, help="Pixels a tile may move in its cell. [all its room]")] = None
    gray: Annotated[float, Option(min=0, max=1, help="Share of pictures made gray.")] = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        cell, tile, jitter = self.sizes
        if tile > cell:
            raise UserError(f"a tile of {tile} pixels does not fit a cell of {cell}; give --tile 1 to {cell}")
        if jitter > cell - tile:
            raise UserError(f"--jitter {jitter} moves tiles out of their cells; give 0 to {cell - tile}")
        most = min(factorial(self.grid**2), 10_000)
        if not 2 <= self.count <= most:
            raise UserError(f"--permutations {self.count} of {self.grid**2} tiles cannot be had; give 2 to {most}")

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Sides of a cell and of a tile, and how far the tile may move: the preset's unless given."""
        cell = PRESETS[self.preset].cell if self.cell is None else self.cell
        tile = PRESETS[self.preset].tile if self.tile is None else self.tile
        return cell, tile, cell - tile if self.jitter is None else self.jitter

    @property
    def count(self) -> int:
        """How many permutations there are to tell apart."""
        preset = min(PRESETS[self.preset].permutations, factorial(self.grid**2))
        return preset if self.permutations is None else self.permutations

    def columns(self) -> Sequence[Column]:
        chosen, distance = permutation_set(self.grid**2, self.count)
        names = tuple("-".join(map(str, permutation)) for permutation in chosen.tolist())
        apart = (
            f"Index of the permutation in permutations.npy; any two of the {self.count} differ in {distance} places."
        )
        home = "permutation[i] is the cell, counted row by row, whose tile is at position i."
        box = "Where each tile was: left, top, right, bottom in pixels of the upright picture."
        return (
            Column("label", "class", "label", apart, names),
            Column("permutation", "list<int64>", "label", home),
            Column("boxes", "list<list<float32>>", "about", box),
            Column("tiles", "list<image>", "input", "The shuffled tiles, each encoded by itself."),
        )

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Write the set beside the data; nothing of it is learned."""
        np.save(artefacts / "permutations.npy", permutation_set(self.grid**2, self.count)[0])

    def rows(self, image: np.ndarray, rng: np.random.Generator) -> Iterator[Row]:
        cell, tile, jitter = self.sizes
        x, y, which, colour = rng.random(4)
        height, width, _ = image.shape
        left, top, side = self.square(height, width, x, y)
        square = ops.resize(image[top : top + side, left : left + side], self.grid * cell, self.grid * cell)
        if colour < self.gray:
            square = color.to_gray(square)
        permutation = permutation_set(self.grid**2, self.count)[0][int(which * self.count)]
        corners = cell * homes(self.grid) + rng.integers(0, jitter + 1, (self.grid**2, 2))
        corners = corners[permutation]
        boxes = np.hstack([corners, corners + tile]) * (side / len(square)) + np.array([left, top, left, top])
        tiles = codec.encode_tiles(square, corners.tolist(), tile)
        yield {
            "label": int(which * self.count),
            "permutation": permutation.tolist(),
            "boxes": boxes.tolist(),
            "tiles": [codec.media(encoded) for encoded in tiles],
        }

    def check_row(self, row: Row, source: np.ndarray | None) -> str | None:
        """Is the permutation its class's, do the boxes lie in the cells it says, and do tiles show what is in them?"""
        cell, tile, jitter = self.sizes
        permutation, boxes = np.array(row["permutation"]), np.array(row["boxes"])
        if not np.array_equal(permutation_set(self.grid**2, self.count)[0][row["label"]], permutation):
            return "`permutation` is not that of the class `label`"
        if len(row["tiles"]) != len(boxes) or len(boxes) != self.grid**2:
            return f"it has {len(row['tiles'])} tiles and {len(boxes)} `boxes`, not {self.grid**2}"
        scale = (boxes[:, 2:] - boxes[:, :2]) / tile
        corner = boxes[:, :2] - cell * homes(self.grid)[permutation] * scale  # of the square, but for the jitter
        if (np.ptp(corner, 0) > (jitter + 0.5) * scale.max()).any():
            return "`boxes` do not lie in the cells that `permutation` says"
        for place, (media, box) in enumerate(zip(row["tiles"], row["boxes"], strict=True)):
            if source is not None and not ops.similar_thumbnail(
                codec.decode_stored(media), ops.crop_subpixel(source, box)
            ):
                return f"tile {place} is not what the source shows in cell {permutation[place]}"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """The tiles as they are shown, and each at its home."""
        tiles, homes_of = [codec.decode_stored(media) for media in row["tiles"]], row["permutation"]
        yield Tiles("shuffled; from which cell", tiles, self.grid, [str(home) for home in homes_of])
        yield Tiles("in place", [tiles[homes_of.index(home)] for home in range(len(tiles))], self.grid)

    def square(self, height: int, width: int, x: float, y: float) -> tuple[int, int, int]:
        """Place the square to cut up: left, top, side in whole pixels of the source. `x` and `y` are chance, 0 to 1."""
        preset = PRESETS[self.preset]
        side = round(min(height, width) * preset.crop)
        if side < self.grid * SMALLEST_CELL:
            raise UnusableSample(f"{width} x {height} pixels, too small for a grid of {self.grid} x {self.grid} tiles")
        side -= side % max(1, side // (self.grid * self.sizes[0]))  # so that whole pixels shrink into one
        if preset.centred:
            return (width - side) // 2, (height - side) // 2, side
        return int(x * (width - side + 1)), int(y * (height - side + 1)), side


@lru_cache
def homes(grid: int) -> np.ndarray:
    """(grid * grid, 2): column and row of each cell, counted row by row."""
    return np.stack(np.divmod(np.arange(grid**2), grid)[::-1], 1)
