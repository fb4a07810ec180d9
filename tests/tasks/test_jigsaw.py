"""The puzzle's label, proved on a drawn picture whose cells tell who they are."""

from __future__ import annotations

from itertools import combinations
from math import factorial
from pathlib import Path

import cv2
import numpy as np
import pytest
from drawn import board, far, opened, photograph, rows, sampled

from pseudolabel.contracts import UnusableSample, UserError
from pseudolabel.tasks.base.task import Row
from pseudolabel.tasks.jigsaw import Jigsaw, JigsawPreset
from pseudolabel.transforms.image.permutations import permutation_set

SMALL = {"cell": 20, "tile": 16}


def tiles(row: Row) -> list[np.ndarray]:
    """The tiles of a row, RGB."""
    return [opened(tile) for tile in row["tiles"]]


def framed(grid: int, cell: int, margin: int) -> np.ndarray:
    """A board with gray to its left and right."""
    return np.pad(board(grid, grid, cell), ((0, 0), (margin, margin), (0, 0)), constant_values=128)


@pytest.mark.parametrize("grid", [2, 3, 4])
def test_the_permutation_names_the_home_of_each_tile(grid: int) -> None:
    # code255 cuts the centre 255/256 of the short side: a board that fills it, in a picture wider than high
    cell = 96
    image = framed(grid, cell, 77)
    task = Jigsaw(preset=JigsawPreset.code255, grid=grid, gray=0, permutations=min(24, factorial(grid**2)))
    for row in rows(task, image, 12):
        for home, tile in zip(row["permutation"], tiles(row), strict=True):
            red, green, _ = np.median(tile.reshape(-1, 3), axis=0)
            column, line = round((red - 40) * grid / 200), round((green - 40) * grid / 200)
            assert home == line * grid + column


def test_undoing_the_permutation_puts_the_picture_back() -> None:
    image = framed(3, 85, 30)
    task = Jigsaw(preset=JigsawPreset.code255, tile=85, gray=0)
    row = rows(task, image)[0]
    back = np.zeros((255, 255, 3), np.uint8)
    for home, tile in zip(row["permutation"], tiles(row), strict=True):
        y, x = divmod(home, 3)
        back[85 * y : 85 * y + 85, 85 * x : 85 * x + 85] = tile
    expected = image[:255, 30:285]
    assert sorted(row["permutation"]) == list(range(9))
    assert row["permutation"] != list(range(9))
    assert np.abs(back.astype(int) - expected).mean() < 4  # the crop is 254 pixels wide


@pytest.mark.parametrize("preset", list(JigsawPreset))
@pytest.mark.parametrize(("height", "width"), [(300, 410), (700, 500), (90, 60), (1300, 1100)])
def test_every_tile_is_its_box_of_the_source(preset: JigsawPreset, height: int, width: int) -> None:
    image = photograph(height, width)
    for row in rows(Jigsaw(preset=preset, gray=0), image, 4):
        for (left, top, right, bottom), tile in zip(row["boxes"], tiles(row), strict=True):
            assert 0 <= left < right <= width
            assert 0 <= top < bottom <= height
            assert far(sampled(image, (left, top, right, bottom), (64, 64)), tile) < 3.5


def test_a_box_moved_by_two_pixels_would_be_noticed() -> None:
    image = photograph(300, 410)
    row = rows(Jigsaw(gray=0), image)[0]
    left, top, right, bottom = row["boxes"][4]
    box = cv2.resize(image[round(top) : round(bottom), round(left) + 2 : round(right) + 2], (64, 64))
    assert far(box, tiles(row)[4]) > 5


def test_boxes_stay_in_their_cells_and_use_all_the_jitter() -> None:
    image = photograph(256, 400)
    task = Jigsaw(preset=JigsawPreset.code255)
    offsets = []
    for row in rows(task, image, 60):
        corners = np.array(row["boxes"])[:, :2] - [(400 - 255) // 2, 0]
        home = np.array(row["permutation"])
        offsets.append(corners - 85 * np.stack([home % 3, home // 3], 1))
    assert set(np.round(np.ravel(offsets)).astype(int)) == set(range(22))


def test_crops_of_the_paper_wander_over_the_whole_picture() -> None:
    image = photograph(256, 400)
    lefts = [min(box[0] for box in row["boxes"]) for row in rows(Jigsaw(jitter=0), image, 200)]
    assert min(lefts) < 10
    assert max(lefts) > 165
    corners = [np.array(row["boxes"])[:, :2].min(0) for row in rows(Jigsaw(jitter=0), photograph(400, 400), 200)]
    assert abs(np.corrcoef(np.array(corners).T)[0, 1]) < 0.3
    fixed = [row["boxes"] for row in rows(Jigsaw(preset=JigsawPreset.code255, jitter=0), image, 5)]
    assert all(sorted(boxes) == sorted(fixed[0]) for boxes in fixed)


def test_the_share_of_gray_and_that_all_tiles_share_it() -> None:
    image = photograph(120, 90)
    made = [[np.ptp(tile, axis=2).max() <= 2 for tile in tiles(row)] for row in rows(Jigsaw(**SMALL), image, 300)]
    assert all(len(set(tiles)) == 1 for tiles in made)
    assert 0.22 < np.mean([tiles[0] for tiles in made]) < 0.38


def test_the_label_indexes_the_set_that_fit_writes(tmp_path: Path) -> None:
    task = Jigsaw(permutations=7, **SMALL)
    task.fit(iter(()), tmp_path, np.random.default_rng(0))
    written = np.load(tmp_path / "permutations.npy")
    names = next(column.names for column in task.columns() if column.name == "label")
    made = rows(task, photograph(120, 90), 60)
    assert written.shape == (7, 9)
    assert {row["label"] for row in made} == set(range(7))
    for row in made:
        assert row["permutation"] == written[row["label"]].tolist()
        assert names[row["label"]] == "-".join(map(str, row["permutation"]))


def test_same_chance_same_rows_and_the_picture_unharmed() -> None:
    image = photograph(200, 260)
    before = image.copy()
    task = Jigsaw()
    assert rows(task, image, 3) == rows(task, image, 3)
    assert len({row["label"] for row in rows(task, image, 10)}) > 5
    assert (image == before).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (20, 900), (26, 26)])
def test_a_picture_too_small_is_unusable(height: int, width: int) -> None:
    with pytest.raises(UnusableSample, match=f"{width} x {height} pixels, too small for a grid of 3 x 3"):
        rows(Jigsaw(), np.zeros((height, width, 3), np.uint8))


def test_a_small_picture_is_used() -> None:
    assert [tile.shape for tile in tiles(rows(Jigsaw(), photograph(28, 32))[0])] == [(64, 64, 3)] * 9


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"grid": 1}, "give 2 to 10"),
        ({"grid": 2, "permutations": 25}, "give 2 to 24"),
        ({"permutations": 10_001}, "give 2 to 10000"),
        ({"cell": 50}, "--tile 1 to 50"),
        ({"tile": 76}, "--tile 1 to 75"),
        ({"jitter": 12}, "give 0 to 11"),
        ({"gray": 1.5}, "give 0 to 1"),
        ({"range": "5"}, "0,4095"),
        ({"max_pixels": 0}, "give 1 or more"),
    ],
)
def test_bad_options_are_refused_with_the_remedy(options: dict[str, int], remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        Jigsaw(**options)


def test_sizes_come_from_the_preset() -> None:
    assert (Jigsaw().sizes, Jigsaw().count) == ((75, 64, 11), 1000)
    code = Jigsaw(preset=JigsawPreset.code255)
    assert (code.sizes, code.count) == ((85, 64, 21), 100)
    assert Jigsaw(grid=2).count == 24


@pytest.mark.parametrize(
    ("n", "count", "least"),
    [(9, 504, 7), (9, 505, 6), (9, 1512, 6), (9, 1600, 4), (4, 4, 4), (4, 12, 3), (4, 24, 2), (16, 300, 12)],
)
def test_permutations_keep_their_distance(n: int, count: int, least: int) -> None:
    chosen, said = permutation_set(n, count)
    first, second = np.array(list(combinations(range(count), 2))).T
    parts = (slice(at, at + 100_000) for at in range(0, len(first), 100_000))
    apart = min(int((chosen[first[part]] != chosen[second[part]]).sum(1).min()) for part in parts)
    assert (np.sort(chosen, axis=1) == np.arange(n)).all()
    assert chosen.shape == (count, n)
    assert apart == said >= least


def test_smaller_sets_of_nine_keep_the_larger_distance() -> None:
    assert [permutation_set(9, count)[1] >= 7 for count in (2, 64, 100, 504)] == [True] * 4


def test_too_many_permutations_are_refused() -> None:
    with pytest.raises(UserError, match="only 24 permutations"):
        permutation_set(4, 25)
