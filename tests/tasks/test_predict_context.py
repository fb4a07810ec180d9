"""Where the neighbour lies, read from a picture whose red grows to the right and whose green grows downwards."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from drawn import far, opened, photograph, rows, sampled

from pseudolabel import PredictContext, UnusableSample, UserError
from pseudolabel.transforms.image.color import project_green_magenta

STEPS = {  # name -> columns to the right, rows down
    **{"above left": (-1, -1), "above": (0, -1), "above right": (1, -1), "left": (-1, 0), "right": (1, 0)},
    **{"below left": (-1, 1), "below": (0, 1), "below right": (1, 1)},
}
NAMES = PredictContext().columns()[0].names


def ramp(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([20 + 200 * x / width, 20 + 200 * y / height, np.full(x.shape, 90)], 2).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(300, 410), (1000, 700), (120, 150)])
def test_the_label_says_where_the_neighbour_lies(height: int, width: int) -> None:
    task, seen = PredictContext(colour="keep"), Counter()
    for row in rows(task, ramp(height, width), 40):
        one, other = (opened(row[name]).mean((0, 1)) for name in ("patch", "neighbour"))
        right = (other - one)[0] * width / 200
        down = (other - one)[1] * height / 200
        scale = 96 / (row["boxes"][0][2] - row["boxes"][0][0])  # pixels of the patch per pixel of the picture
        step = (round(right * scale / 144), round(down * scale / 144))
        assert step == STEPS[NAMES[row["label"]]]
        assert abs(right * scale - 144 * step[0]) < 14 + 3
        assert abs(down * scale - 144 * step[1]) < 14 + 3
        seen[row["label"]] += 1
    assert set(seen) == set(range(8))
    expected = 320 / 8
    assert sum((count - expected) ** 2 / expected for count in seen.values()) < 24.3  # chi-square of 7, p = 0.001


def test_each_patch_is_its_box_of_the_picture() -> None:
    image = photograph(400, 530)
    areas, reach = [], []
    for row in rows(PredictContext(colour="keep", coarsen=0), image, 60):
        for box, name in zip(row["boxes"], ("patch", "neighbour"), strict=True):
            assert 0 <= box[0] < box[2] <= 530
            assert 0 <= box[1] < box[3] <= 400
            assert far(sampled(image, box, (96, 96)), opened(row[name])) < 3.5
        (side,) = {side for box in row["boxes"] for side in (box[2] - box[0], box[3] - box[1])}
        one, other = np.array(row["boxes"])[:, :2] * 96 / side
        reach += (other - one - 144 * np.array(STEPS[NAMES[row["label"]]])).tolist()
        areas.append(400 * 530 * (96 / side) ** 2)
    assert 149_000 < min(areas) < 175_000
    assert 425_000 < max(areas) < 465_000, "sides are whole pixels of the picture"
    assert np.abs(reach).max() < 14 + 2
    assert np.std(reach) > 4


def test_colours_are_dropped_but_one() -> None:
    image, kept = photograph(400, 530), Counter()
    for row in rows(PredictContext(coarsen=0), image, 30):
        for box, name in zip(row["boxes"], ("patch", "neighbour"), strict=True):
            patch, whole = opened(row[name]), sampled(image, box, (96, 96))
            channel = int(np.argmax(patch.std((0, 1))))
            kept[channel] += 1
            assert far(patch[..., channel], whole[..., channel]) < 5
            rest = np.delete(patch, channel, 2).astype(int)
            assert np.abs(rest.mean() - 128) < 2
            assert rest.std() < 4, "noise and what the codec adds"
    assert min(kept.values()) > 480 / 3 * 0.7


def test_projection_leaves_no_green_against_magenta() -> None:
    image = photograph(64, 64) // 3 + 80  # so that nothing is clipped
    shown = project_green_magenta(image).astype(float)
    assert np.abs(shown @ (-1, 2, -1)).max() <= 2.01  # rounding
    assert far(shown.mean(2), image.mean(2)) < 1, "brightness stays"
    assert far(shown[..., 0] - shown[..., 2], image[..., 0].astype(float) - image[..., 2]) < 1
    patches = [opened(row["patch"]) for row in rows(PredictContext(colour="project", coarsen=0), image)]
    assert max(np.abs(patch.astype(int) @ (-1, 2, -1)).mean() for patch in patches) < 4


def test_a_third_of_the_patches_is_coarse() -> None:
    """A checkerboard of single pixels is gray where it was shrunk."""
    image = np.where(np.indices((400, 500)).sum(0)[..., None] % 2, np.uint8(230), np.uint8(20)).repeat(3, 2)
    task = PredictContext(colour="keep", min_resized_pixels=200_000, max_resized_pixels=200_000)
    coarse = [opened(row[name]).std() < 80 for row in rows(task, image, 60) for name in ("patch", "neighbour")]
    assert abs(np.mean(coarse) - 0.33) < 0.06
    assert not any(
        opened(row["patch"]).std() < 80 for row in rows(PredictContext(**{**task.__dict__, "coarsen": 0}), image)
    )


@pytest.mark.parametrize(
    ("height", "width", "reason"),
    [(1, 1, "too small"), (12, 18, "too small"), (30, 4000, "too narrow"), (5000, 200, "too narrow")],
)
def test_what_holds_no_two_patches_is_unusable(height: int, width: int, reason: str) -> None:
    with pytest.raises(UnusableSample, match=reason):
        rows(PredictContext(), np.zeros((height, width, 3), np.uint8))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"jitter": 25}, "give 0 to 24"),
        ({"max_resized_pixels": 50_000, "min_resized_pixels": 40_000}, "give 61009 or more"),
        ({"max_resized_pixels": 100_000}, "give 150000 or more"),
        ({"colour": "none"}, "choose among drop, project, keep"),
        ({"rows_per_image": 0}, "give 1 to 1000"),
        ({"coarsen": -0.1}, "give 0 to 1"),
    ],
)
def test_bad_options_are_refused_with_the_remedy(options: dict, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        PredictContext(**options)
