"""Pictures: crops of photographs, at another size, with the noise of a sensor."""

from __future__ import annotations

import io
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from makers.real_files import in_parallel, sources


def is_photograph(path: Path) -> bool:
    """Whether it opens, in colours, with sides of 375 to 6,000 pixels."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()
            return image.mode == "RGB" and min(image.size) >= 375 and max(image.size) <= 6000
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False


def make_photographs(count: int, folder: Path, data: Path) -> None:
    """JPEG of about 500 x 375 pixels and 110 KB, of several qualities and subsamplings, a tenth progressive."""
    pool = sources(data, "images", ".jpg .jpeg .png", is_photograph)
    in_parallel(partial(write_photograph, folder=folder, pool=pool), count)


def write_photograph(number: int, folder: Path, pool: list[Path]) -> None:
    rng = np.random.default_rng([1, number])
    sides = [(500, 375), (500, 375), (375, 500), (500, 333)][rng.integers(4)]
    pixels = piece_of_photograph(pool[rng.integers(len(pool))], sides, rng).astype(np.float32)
    light = rng.standard_normal(pixels.shape[:2], np.float32)[..., None]
    pixels += rng.uniform(4, 15) * (light + 0.4 * rng.standard_normal(pixels.shape, np.float32))
    quality, subsampling = int(rng.integers(88, 99)), int(rng.choice([0, 1, 2], p=[0.2, 0.1, 0.7]))
    data = jpeg(pixels, quality=quality, subsampling=subsampling, progressive=bool(rng.random() < 0.1))
    target = folder / f"{number // 1000:03d}" / f"{number:06d}.jpg"
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)


def piece_of_photograph(path: Path, sides: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """(height, width, 3) uint8: a random crop of an upright photograph, resized to (width, height), maybe mirrored."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        image = ImageOps.exif_transpose(file)
    zoom = min(image.width / sides[0], image.height / sides[1]) * rng.uniform(0.6, 1)
    width, height = zoom * sides[0], zoom * sides[1]
    left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
    pixels = np.asarray(image.resize(sides, Image.Resampling.BICUBIC, (left, top, left + width, top + height)))
    return pixels[:, ::-1] if rng.random() < 0.5 else pixels


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def make_phone(count: int, folder: Path, data: Path) -> None:
    """JPEG of 4000 x 3000 pixels, 4:2:0, 3 to 5 MB, a third of them turned by EXIF."""
    pool = sources(data, "images", ".jpg .jpeg .png", is_photograph)
    in_parallel(partial(write_phone, folder=folder, pool=pool), count)


def write_phone(number: int, folder: Path, pool: list[Path]) -> None:
    from PIL import Image

    rng = np.random.default_rng([2, number])
    pixels = piece_of_photograph(pool[rng.integers(len(pool))], (4000, 3000), rng).astype(np.int16)
    down, right = rng.integers(0, 3000), rng.integers(0, 4000)
    pixels += np.roll(detail(), (down, right), (0, 1))[..., None]
    exif = Image.Exif()
    exif[0x0112] = 6 if rng.random() < 1 / 3 else 1  # orientation
    data = jpeg(pixels, quality=int(rng.integers(88, 95)), subsampling=2, exif=exif)
    (folder / f"IMG_{number:04d}.jpg").write_bytes(data)


@lru_cache(1)
def detail() -> np.ndarray:
    """(3000, 4000) int16: noise at every scale, which an enlarged picture lacks."""
    import cv2

    rng, total = np.random.default_rng(3), np.zeros((3000, 4000), np.float32)
    for scale, strength in ((1, 4.5), (2, 5), (4, 6), (8, 6), (16, 6)):
        grains = rng.standard_normal((3000 // scale, 4000 // scale), np.float32)
        total += strength * cv2.resize(grains, (4000, 3000), interpolation=cv2.INTER_CUBIC)
    return total.astype(np.int16)
