"""Rotations, jigsaws and pairs of views by torchvision's and lightly's transforms, composed as users compose them.

Tensors end before ImageNet's normalisation, which is one linear map for all of them and tells nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from PIL import Image

from loaders.prepare import prepare
from loaders.sources import HEIGHT, WIDTH, files_of

Row = dict[str, Any]
SIDE = 224
GRID, CELL, TILE = 3, 85, 64  # of a jigsaw of 255 pixels: lightly's defaults and the public repositories' sizes


def images_of(source: str) -> Iterator[tuple[str, Image.Image]]:
    """Yield name and RGB picture of each file, as torchvision's `pil_loader` reads it."""
    for path in files_of(source):
        yield path.name, Image.open(path).convert("RGB")


def torchvision_rotate(source: str) -> Iterator[Row]:
    """Each picture once in an epoch, resized, cropped, mirrored and turned at random; four epochs."""
    prepare()
    from torchvision import transforms as T
    from torchvision.transforms import functional as F

    square = T.Compose([T.Resize(256), T.RandomCrop(SIDE), T.RandomHorizontalFlip()])
    for epoch in range(4):
        for name, image in images_of(source):
            quarters = int(torch.randint(4, (1,)))
            shown = F.rotate(square(image), 90 * quarters)
            yield {"key": f"{name}#{epoch}", "image": F.to_tensor(shown), "label": quarters}


def torchvision_jigsaw(source: str) -> Iterator[Row]:
    """Tiles of 64 of cells of 85 pixels, as the public repositories of the method: torchvision has no jigsaw."""
    prepare()
    from torchvision import transforms as T
    from torchvision.transforms import functional as F

    square = T.Compose([T.Resize(256), T.RandomCrop(GRID * CELL)])
    for name, image in images_of(source):
        shown, tiles = square(image), []
        for cell in range(GRID * GRID):
            down, across = torch.randint(0, CELL - TILE + 1, (2,)).tolist()
            top, left = CELL * (cell // GRID) + down, CELL * (cell % GRID) + across
            tiles.append(F.to_tensor(F.crop(shown, top, left, TILE, TILE)))
        order = torch.randperm(GRID * GRID).tolist()
        yield {"key": name, "tiles": [tiles[home] for home in order], "permutation": order}


def lightly_jigsaw(source: str) -> Iterator[Row]:
    """lightly's `Jigsaw` as its documentation calls it, after a random crop.

    It returns no permutation. The label is drawn again here, from the state of NumPy's generator before the call.
    """
    prepare()
    from lightly.transforms import Jigsaw
    from torchvision import transforms as T

    square = T.RandomResizedCrop(GRID * CELL)
    jigsaw = Jigsaw(n_grid=GRID, img_size=GRID * CELL, crop_size=TILE, transform=T.ToTensor())
    for name, image in images_of(source):
        shown, state = square(image), np.random.get_state()  # noqa: NPY002
        tiles = jigsaw(shown)
        order = replayed_order(state)
        yield {"key": name, "tiles": list(tiles), "permutation": order}


def replayed_order(state: Any) -> list[int]:
    """Return the permutation that `Jigsaw` drew from this state of NumPy's generator, which goes on as it was."""
    after = np.random.get_state()  # noqa: NPY002
    np.random.set_state(state)  # noqa: NPY002
    for _ in range(2):
        np.random.randint(0, CELL - TILE + 1, GRID * GRID)  # noqa: NPY002 - the places in the cells
    order = np.random.permutation(GRID**2).tolist()  # noqa: NPY002
    np.random.set_state(after)  # noqa: NPY002
    return order


def lightly_pairs(source: str) -> Iterator[Row]:
    """Two views of each picture by lightly's `SimCLRTransform` with its defaults."""
    prepare()
    from lightly.transforms import SimCLRTransform

    yield from pairs_by(source, SimCLRTransform(input_size=SIDE, normalize=None))


def torchvision_pairs(source: str) -> Iterator[Row]:
    """Two views of each picture by torchvision's transforms with SimCLR's parameters, as its PyTorch versions."""
    prepare()
    from torchvision import transforms as T

    view = T.Compose(
        [
            T.RandomResizedCrop(SIDE),
            T.RandomHorizontalFlip(),
            T.RandomApply([T.ColorJitter(0.8, 0.8, 0.8, 0.2)], p=0.8),
            T.RandomGrayscale(p=0.2),
            T.RandomApply([T.GaussianBlur(SIDE // 10 + 1, (0.1, 2.0))], p=0.5),
            T.ToTensor(),
        ]
    )
    yield from pairs_by(source, lambda image: (view(image), view(image)))


def pairs_by(source: str, transform: Any, copies: int = 2) -> Iterator[Row]:
    """Views of the whole folder, once for each copy: what a loader yields in as many epochs."""
    for epoch in range(copies):
        for name, image in images_of(source):
            first, second = transform(image)
            yield {"key": f"{name}#{epoch}", "view_1": first, "view_2": second}


def pirl_reach() -> dict[str, float]:
    """Measure which pixels of an image reach the tiles of lightly's `PIRLTransform` with its default sizes."""
    prepare()
    from lightly.transforms import PIRLTransform

    across, down = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    number = across + WIDTH * down
    picture = Image.fromarray(np.stack([number >> 16, number >> 8 & 255, number & 255], 2).astype(np.uint8))
    transform = PIRLTransform(normalize=None, cj_prob=0, random_gray_scale=0)
    reached = set[int]()
    for _ in range(50):
        high, middle, low = (transform(picture)[1] * 255).round().long().unbind(1)
        reached.update((high << 16 | middle << 8 | low).unique().tolist())
    rows, columns = np.divmod(sorted(reached), WIDTH)
    return {
        f"share of an image of {WIDTH} x {HEIGHT} pixels that reaches a tile": len(reached) / (WIDTH * HEIGHT),
        "last row that reaches one": int(rows.max()),
        "last column that reaches one": int(columns.max()),
    }
