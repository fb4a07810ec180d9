"""Jigsaw puzzles as public repositories make them (bbrattoli/JigsawPuzzlePytorch, VISSL): PIL in a DataLoader.

A crop of 255 pixels of each picture, cut into 3 x 3 cells of 85; of each cell a tile of 64 pixels at a random place, as
JPEG of quality 95; tiles and their order in one Parquet file. Unlike the task it draws any order, not one of a set,
makes no picture gray, finds no damage, keeps all rows in memory, and cannot be resumed.

usage: jigsaw.py SOURCE OUT WORKERS
"""

import random
import sys
from pathlib import Path

import torch
from pictures import encode, jpegs_in, store
from PIL import Image

SIDE, CROP, CELL, TILE = 256, 255, 85, 64


class Puzzles(torch.utils.data.Dataset):
    def __init__(self, files: list[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> tuple[str, list[bytes], list[int]]:
        image = Image.open(self.files[number]).convert("RGB")
        scale = SIDE / min(image.size)
        width, height = (max(SIDE, round(side * scale)) for side in image.size)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
        left, top = random.randint(0, width - CROP), random.randint(0, height - CROP)
        tiles = []
        for row in range(3):
            for column in range(3):
                x = left + CELL * column + random.randint(0, CELL - TILE)
                y = top + CELL * row + random.randint(0, CELL - TILE)
                tiles.append(encode(image.crop((x, y, x + TILE, y + TILE))))
        order = random.sample(range(9), 9)
        return self.files[number].name, [tiles[i] for i in order], order


if __name__ == "__main__":
    store(Puzzles(jpegs_in(Path(sys.argv[1]))), Path(sys.argv[2]), int(sys.argv[3]), ["key", "tiles", "permutation"])
