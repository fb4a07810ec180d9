"""Jigsaw puzzles as public repositories make them (bbrattoli/JigsawPuzzlePytorch, VISSL): PIL in a DataLoader.

A crop of 255 pixels of each picture, cut into 3 x 3 cells of 85; of each cell a tile of 64 pixels at a random place, as
JPEG of quality 95; tiles and their order in one Parquet file. Unlike the task it draws any order, not one of a set,
makes no picture gray, finds no damage, keeps all rows in memory, and cannot be resumed.

usage: jigsaw.py SOURCE OUT WORKERS
"""

import io
import random
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image

SIDE, CROP, CELL, TILE = 256, 255, 85, 64


def encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


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


def main() -> None:
    source, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() == ".jpg")
    loader = torch.utils.data.DataLoader(Puzzles(files), batch_size=16, num_workers=workers, collate_fn=list)
    keys, tiles, orders = zip(*(row for batch in loader for row in batch), strict=True)
    out.mkdir(parents=True)
    pq.write_table(pa.table({"key": keys, "tiles": tiles, "permutation": orders}), out / "train.parquet")


if __name__ == "__main__":
    main()
