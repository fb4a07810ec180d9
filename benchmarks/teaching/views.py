"""The usual loaders of pictures: torchvision's transforms as users compose them, by PIL on the fly."""

from __future__ import annotations

from math import exp, log, sqrt
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from teaching.places import SEEN

BILINEAR, BICUBIC = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC


def open_pictures(folder: Path) -> list[Image.Image]:
    """Open all pictures of a folder, as RGB."""
    return [Image.open(path).convert("RGB") for path in sorted(folder.iterdir())]


def center_square(picture: np.ndarray) -> np.ndarray:
    """Return the square in the middle, SEEN pixels."""
    return np.asarray(ImageOps.fit(Image.fromarray(np.ascontiguousarray(picture)), (SEEN, SEEN), BILINEAR))


def rotate_view(picture: Image.Image, rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """Resize, RandomCrop, RandomHorizontalFlip, rotate."""
    shown = np.asarray(random_flip(random_crop(resize(picture, round(SEEN * 256 / 224)), SEEN, rng), rng))
    turn = int(rng.integers(4))
    return np.rot90(shown, turn).copy(), turn


def simclr_pair(picture: Image.Image, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return simclr_view(picture, rng), simclr_view(picture, rng)


def simclr_view(picture: Image.Image, rng: np.random.Generator) -> np.ndarray:
    """Crop (.08, 1), flip, ColorJitter(.8, .8, .8, .2) at 80 %, RandomGrayscale(.2), GaussianBlur at 50 %."""
    shown = random_flip(random_resized_crop(picture, 0.08, rng), rng)
    if rng.random() < 0.8:
        enhance = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
        for which in rng.permutation(4):
            if which < 3:
                shown = enhance[which](shown).enhance(rng.uniform(0.2, 1.8))
            else:
                shown = shift_hue(shown, rng.uniform(-0.2, 0.2))
    if rng.random() < 0.2:
        shown = shown.convert("L").convert("RGB")
    if rng.random() < 0.5:
        shown = shown.filter(ImageFilter.GaussianBlur(rng.uniform(0.1, 2.0)))
    return np.asarray(shown)


def random_resized_crop(
    picture: Image.Image, least: float, rng: np.random.Generator, filter_: Image.Resampling = BILINEAR
) -> Image.Image:
    """torchvision's RandomResizedCrop: ten tries, then the middle."""
    width, height = picture.size
    for _ in range(10):
        area, ratio = width * height * rng.uniform(least, 1), exp(rng.uniform(log(3 / 4), log(4 / 3)))
        wide, high = round(sqrt(area * ratio)), round(sqrt(area / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = int(rng.integers(width - wide + 1)), int(rng.integers(height - high + 1))
            return picture.resize((SEEN, SEEN), filter_, (left, top, left + wide, top + high))
    return ImageOps.fit(picture, (SEEN, SEEN), filter_)


def shift_hue(picture: Image.Image, shift: float) -> Image.Image:
    hue, saturation, value = picture.convert("HSV").split()
    turned = Image.fromarray((np.asarray(hue).astype(int) + round(255 * shift) & 255).astype(np.uint8))
    return Image.merge("HSV", (turned, saturation, value)).convert("RGB")


def resize(picture: Image.Image, side: int) -> Image.Image:
    """Resize the short side."""
    scale = side / min(picture.size)
    return picture.resize([round(scale * length) for length in picture.size], BILINEAR)


def random_crop(picture: Image.Image, side: int, rng: np.random.Generator) -> Image.Image:
    left, top = (int(rng.integers(length - side + 1)) for length in picture.size)
    return picture.crop((left, top, left + side, top + side))


def random_flip(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return ImageOps.mirror(picture) if rng.random() < 0.5 else picture


class Puzzles(NamedTuple):
    """Jigsaws as the public repositories make them: resize, crop, a tile at random in each cell."""

    orders: np.ndarray
    cell: int
    tile: int

    def __call__(self, picture: Image.Image, rng: np.random.Generator) -> tuple[np.ndarray, int]:
        square = random_crop(resize(picture, round(3 * self.cell * 256 / 225)), 3 * self.cell, rng)
        if rng.random() < 0.3:
            square = square.convert("L").convert("RGB")
        shown, tiles, label = np.asarray(square), [], int(rng.integers(len(self.orders)))
        for home in self.orders[label]:
            down, across = rng.integers(0, self.cell - self.tile + 1, 2)
            top, left = self.cell * (home // 3) + down, self.cell * (home % 3) + across
            tiles.append(shown[top : top + self.tile, left : left + self.tile])
        return np.stack(tiles), label


def clusters(folder: Path, count: int) -> np.ndarray:
    """Cluster the pictures of a folder by hand: gradients in cells, colours, scikit-learn's PCA and k-means."""
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import normalize

    squares = [ImageOps.fit(picture, (64, 64), BILINEAR) for picture in open_pictures(folder)]
    shapes = np.stack([gradients(np.asarray(square.convert("L"), float)) for square in squares])
    colours = np.stack([np.asarray(square.resize((4, 4), BILINEAR), float).ravel() for square in squares])
    features = np.hstack([shapes / shapes.std(), colours / colours.std()])
    white = normalize(PCA(min(256, len(features) // 20), whiten=True, random_state=0).fit_transform(features))
    return KMeans(count, n_init=5, random_state=0).fit_predict(white).astype(np.int64)


def gradients(gray: np.ndarray) -> np.ndarray:
    """(64, 64) -> (576,): Dalal and Triggs' histograms of nine directions in cells of 8 x 8, each normalised."""
    down, across = np.gradient(gray)
    bins = (np.arctan2(down, across) % np.pi / np.pi * 9).astype(int) % 9
    votes = np.hypot(down, across)[..., None] * (bins[..., None] == np.arange(9))
    cells = votes.reshape(8, 8, 8, 8, 9).sum((1, 3))
    return (cells / (np.linalg.norm(cells, axis=-1, keepdims=True) + 1)).ravel()
