"""The mask's meaning, proved on pictures whose patches tell who they are; its count, and how it is distributed."""

from __future__ import annotations

from itertools import pairwise
from math import exp, log, sqrt

import numpy as np
import pytest
from drawn import board, far, opened, photograph, rows, sampled

from pseudolabel import MaskPatches, UserError
from pseudolabel.transforms.image.masks import GRAY, MIN_BLOCK_PATCHES, block_mask, grid_mask, random_mask


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@pytest.mark.parametrize("masks", [1, 3])
@pytest.mark.parametrize("strategy", ["random", "block", "grid"])
def test_the_mask_says_which_patches_are_hidden(strategy: str, masks: int) -> None:
    """Which cells of a board the rendered picture lacks, read by their colours: the board is 4 cells by 6."""
    image = board(4, 6, 32)
    task = MaskPatches(
        strategy=strategy, height=128, width=192, patch=32, ratio=0.5, min_area=1, flip=0, masks=masks, render=True
    )
    for row in rows(task, image, 6):
        assert row["box"] == [0, 0, 192, 128]
        shown = opened(row["image"])
        listed = [row["mask"]] if masks == 1 else row["masks"]
        rendered = [row["rendered"]] if masks == 1 else row["rendered"]
        assert len(listed) == masks
        for mask, picture in zip(listed, map(opened, rendered), strict=True):
            assert len(mask) == 24
            for place, is_hidden in enumerate(mask):
                y, x = divmod(place, 6)
                red, green, _ = np.median(shown[32 * y : 32 * y + 32, 32 * x : 32 * x + 32], (0, 1))
                assert (round((red - 40) * 6 / 200), round((green - 40) * 4 / 200)) == (x, y), "stored whole"
                there = picture[32 * y + 4 : 32 * y + 28, 32 * x + 4 : 32 * x + 28]
                assert (far(there, np.full_like(there, GRAY)) < 3) == is_hidden
                assert (far(there, np.full_like(there, (red, green, 90))) < 3) == (not is_hidden)


def test_the_counts_are_the_methods() -> None:
    for options, count, total in (
        ({}, 147, 196),
        ({"strategy": "block"}, 75, 196),
        ({"strategy": "grid", "height": 192, "width": 192, "patch": 16}, 22 * 4, 144),
        ({"strategy": "grid", "height": 192, "width": 192, "patch": 4}, 22 * 64, 48 * 48),
        ({"ratio": 0.9, "height": 160, "width": 64}, 40 - int(40 * (1 - 0.9)), 40),  # 37: ViTMAE's own count, by floats
        ({"strategy": "block", "ratio": 0.4, "height": 48, "width": 320}, 24, 60),
    ):
        for row in rows(MaskPatches(**options), photograph(100, 130), 20):
            assert (sum(row["mask"]), len(row["mask"])) == (count, total)
            assert all(type(value) is bool for value in row["mask"])


def test_random_masks_hide_each_patch_as_often() -> None:
    rng = generator()
    masks = np.array([random_mask(14, 14, 147, rng) for _ in range(2000)])
    assert (masks.sum((1, 2)) == 147).all()
    assert np.abs(masks.mean(0) - 0.75).max() < 4.5 * sqrt(0.75 * 0.25 / 2000)
    assert len({mask.tobytes() for mask in masks}) == 2000


def beit(rng: np.random.Generator) -> np.ndarray:
    """microsoft/unilm, beit/masking_generator.py, MaskingGenerator(14, 75, min_num_patches=16): as it is."""
    mask = np.zeros((14, 14), int)
    while (most := 75 - mask.sum()) > 0:
        delta = 0
        for _ in range(10):
            area, aspect = rng.uniform(*sorted((16, most))), exp(rng.uniform(log(0.3), log(1 / 0.3)))
            h, w = round(sqrt(area * aspect)), round(sqrt(area / aspect))
            if w < 14 and h < 14:
                top, left = rng.integers(0, 14 - h + 1), rng.integers(0, 14 - w + 1)
                new = h * w - mask[top : top + h, left : left + w].sum()
                if 0 < new <= most:
                    mask[top : top + h, left : left + w] = 1
                    delta = new
                    break
        if delta == 0:
            break
    return mask


def test_blocks_are_beits_with_what_it_lacks() -> None:
    ours = np.array([block_mask(14, 14, 75, generator(i)) for i in range(1000)])
    theirs = np.array([beit(generator(5000 + i)) for i in range(1000)])
    assert (ours.sum((1, 2)) == 75).all()
    assert 0.6 < (theirs.sum((1, 2)) == 75).mean() < 0.75, "the reference stops short in a third"
    assert np.abs(ours.mean(0) - theirs.mean(0) * 75 / theirs.sum((1, 2)).mean()).max() < 0.07

    def edges(masks: np.ndarray) -> float:
        """Neighbours of which one is hidden, per mask: of blocks there are few, of random patches many."""
        return float((masks[:, 1:] != masks[:, :-1]).sum() + (masks[:, :, 1:] != masks[:, :, :-1]).sum()) / len(masks)

    scatter = np.array([random_mask(14, 14, 75, generator(i)) for i in range(200)])
    assert abs(edges(ours) / edges(theirs.astype(bool)) - 1) < 0.1
    assert edges(scatter) > 3 * edges(ours)


@pytest.mark.parametrize(
    ("height", "width", "count"), [(2, 2, 1), (1, 30, 12), (30, 1, 29), (3, 40, 61), (14, 20, 279)]
)
def test_blocks_of_any_grid_and_count(height: int, width: int, count: int) -> None:
    assert MIN_BLOCK_PATCHES > 12, "some of these are smaller than a block"
    for i in range(50):
        mask = block_mask(height, width, count, generator(i))
        assert (mask.shape, mask.sum()) == ((height, width), count)


def test_coarse_masks_are_of_squares() -> None:
    rng = generator()
    masks = np.array([grid_mask(12, 18, 3, 10, rng) for _ in range(2000)])
    squares = masks.reshape(2000, 4, 3, 6, 3)
    assert (squares.all((2, 4)) == squares.any((2, 4))).all()
    assert (masks.sum((1, 2)) == 90).all()
    assert np.abs(masks.mean(0) - 10 / 24).max() < 4.5 * sqrt(10 * 14 / 24**2 / 2000)


def test_the_picture_is_its_box_of_the_source() -> None:
    image, flips = photograph(300, 410), []
    for row in rows(MaskPatches(height=160, width=224), image, 40):
        assert far(sampled(image, row["box"], (160, 224), row["flip"]), opened(row["image"])) < 3.5
        left, top, right, bottom = row["box"]
        assert 0.19 < (right - left) * (bottom - top) / (300 * 410) <= 1
        assert 0.74 < (right - left) / (bottom - top) * 160 / 224 < 1.36
        flips.append(row["flip"])
    assert 8 < sum(flips) < 32


def test_masks_of_one_picture_differ() -> None:
    (row,) = rows(MaskPatches(masks=4), photograph(100, 130))
    assert "mask" not in row
    assert all(one != other for one, other in pairwise(row["masks"]))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"strategy": "tube"}, "choose among random, block, grid"),
        ({"height": 225}, "give e.g. 112"),
        ({"patch": 15}, "not multiples of --patch 15"),
        ({"strategy": "grid", "width": 48}, "not multiples of --unit 32"),
        ({"strategy": "grid", "patch": 14, "height": 224, "width": 224}, "not a multiple of --patch 14; give e.g. 28"),
        ({"ratio": 0.0}, "none or all of 196"),
        ({"ratio": 1.0}, "none or all of 196"),
        ({"ratio": 1.2}, "give 0 to 1"),
        ({"masks": 0}, "give 1 to 1000"),
        ({"patch": 224}, "covers the whole image"),
        ({"unit": 64}, "leave it out"),
        ({"strategy": "block", "height": 32}, "too small for blocks"),
    ],
)
def test_bad_options_are_refused_with_the_remedy(options: dict, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        MaskPatches(**options)
