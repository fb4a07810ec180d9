"""The floor of a task on pictures: decode, resize, encode, by OpenCV in WORKERS processes, and nothing else.

It decodes each picture whole, makes its shorter side SIDE pixels, and encodes TILES squares of TILE pixels as JPEG of
quality 95, 4:4:4, which are as many pixels as the task stores. It draws nothing at random, makes no label, finds no
damage and writes no file.

usage: image_floor.py SOURCE OUT WORKERS SIDE TILES TILE      (jigsaw: 256 9 64; a pair of views: 224 2 224)
"""

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

JPEG = [cv2.IMWRITE_JPEG_QUALITY, 95, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]


def make_tiles(files: list[Path], side: int, tiles: int, tile: int) -> None:
    cv2.setNumThreads(1)
    for file in files:
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR)
        height, width = image.shape[:2]
        scale = side / min(height, width)
        size = (max(side, round(width * scale)), max(side, round(height * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
        for number in range(tiles):
            y, x = divmod(number, 3) if tile < side else (0, 0)
            cv2.imencode(".jpg", image[y * tile : (y + 1) * tile, x * tile : (x + 1) * tile], JPEG)


def main() -> None:
    source, _, workers, side, tiles, tile = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
    files = sorted(path for path in source.rglob("*") if path.suffix.lower() == ".jpg")
    with ProcessPoolExecutor(workers) as pool:
        jobs = [pool.submit(make_tiles, files[i::workers], side, tiles, tile) for i in range(workers)]
    for job in jobs:
        job.result()


if __name__ == "__main__":
    main()
