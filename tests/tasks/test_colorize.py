"""The bins, undone to colours and set against those that were drawn; the lightness, computed by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from drawn import far, opened, photograph, rows, sampled

from pseudolabel import Colorize, UnusableSample, UserError
from pseudolabel.contracts import FilteredSample
from pseudolabel.transforms.image.color import bin_centers, lab, soft_bins

COLOURS = {"red": (200, 30, 40), "green": (40, 160, 60), "blue": (30, 60, 190), "sand": (220, 200, 140)}


def lab_by_hand(rgb: tuple[int, ...]) -> np.ndarray:
    """sRGB (IEC 61966-2-1) to XYZ to CIE Lab, D65: the definitions, for one colour."""
    c = np.array(rgb) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    xyz = np.array(
        [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    )
    t = xyz @ linear / (0.95047, 1.0, 1.08883)
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def quarters(height: int, width: int) -> np.ndarray:
    """A colour in each quarter of a picture: red, green over blue, sand."""
    image = np.zeros((height, width, 3), np.uint8)
    for colour, y, x in zip(COLOURS.values(), (0, 0, 1, 1), (0, 1, 0, 1), strict=True):
        image[y * height // 2 : (y + 1) * height // 2, x * width // 2 : (x + 1) * width // 2] = colour
    return image


@pytest.mark.parametrize("flip", [0, 1])
def test_the_bins_are_the_colours_that_were_there(flip: int, tmp_path: Path) -> None:
    image = quarters(176, 240)
    task = Colorize(crop=1, flip=flip)
    task.fit(iter(()), tmp_path, np.random.default_rng(0))
    table = np.load(tmp_path / "ab_bins.npy")
    for row in rows(task, image, 8):
        grid = np.array(row["bins"]).reshape(44, 44)
        gray = opened(row["image"])[..., 0]
        left = row["box"][0]
        seen = set()
        for y, x in ((4, 3), (4, 40), (40, 3), (40, 40)):
            column = left + (43 - x if flip else x) * 4 + (3 if flip else 0)  # of the picture, 176 pixels for 176
            name = (("red", "green"), ("blue", "sand"))[y > 20][column >= 120]
            lightness, a, b = lab_by_hand(COLOURS[name])
            assert np.linalg.norm(table[grid[y, x]] - (a, b)) <= np.linalg.norm(table - (a, b), axis=1).min() + 0.01
            assert abs(gray[4 * y, 4 * x] / 2.55 - lightness) < 0.5
            seen.add(name)
        assert len(seen) >= 2


def test_lab_is_lab() -> None:
    for rgb in [*COLOURS.values(), (0, 0, 0), (255, 255, 255), (3, 2, 1)]:
        assert np.abs(lab(np.array([[rgb]], np.uint8))[0, 0] - lab_by_hand(rgb)).max() < 0.2


def test_the_hull_is_the_published_one() -> None:
    table = bin_centers()
    assert table.shape == (313, 2)
    assert len(np.unique(table, axis=0)) == 313
    assert (table % 10 == 0).all()
    sizes = [5, 8, 10, 12, 14, 15, 16, 16, 17, 18, 18, 18, 19, 20, 19, 20, 20, 19, 19, 10]
    assert [int((table[:, 0] == a).sum()) for a in range(-90, 101, 10)] == sizes
    assert all(tuple(one) < tuple(other) for one, other in pairwise(table.tolist()))


def test_bins_are_the_nearest_and_soft_weights_the_references() -> None:
    ab = np.random.default_rng(0).uniform(-128, 128, (4000, 2)).astype(np.float32)
    away = np.linalg.norm(ab[:, None].astype(float) - bin_centers(), axis=2)
    near, weights = soft_bins(ab, 10)  # NNEncode(NN=10, sigma=5), by sorting everything
    assert np.allclose(away[np.arange(4000), near[:, 0]], away.min(1))
    order = np.sort(away, 1)[:, :10]
    assert np.allclose(np.take_along_axis(away, near.astype(int), 1), order)
    expected = np.exp(-(order**2) / 50)
    inside = order[:, 0] < 20  # of colours far out the reference's weights are 0 / 0
    assert np.allclose(weights[inside], (expected / expected.sum(1, keepdims=True))[inside], atol=1e-5)
    assert np.allclose(weights.sum(1), 1, atol=1e-5)


def test_soft_labels_are_columns_beside_the_bins() -> None:
    (row,) = rows(Colorize(soft=5, size=64, stride=8), photograph(100, 130))
    assert np.array(row["soft_bins"]).shape == np.array(row["soft_weights"]).shape == (64, 5)
    for near, weights, nearest in zip(row["soft_bins"], row["soft_weights"], row["bins"], strict=True):
        assert near[0] == nearest
        assert list(weights) == sorted(weights, reverse=True)
    assert len(Colorize(soft=5).columns()) == len(Colorize().columns()) + 2


def test_the_input_is_the_lightness_of_its_box() -> None:
    image = photograph(256, 400)
    for row in rows(Colorize(), image, 30):
        box = row["box"]
        assert box[2] - box[0] == box[3] - box[1] == 176
        expected = lab(np.ascontiguousarray(sampled(image, box, (176, 176), row["flip"])))[..., 0] * 2.55
        gray = opened(row["image"])
        assert (gray[..., 0] == gray[..., 2]).all(), "no colour is left in it"
        assert far(gray[..., 0], expected) < 3


def test_pictures_without_colour_are_left_out_with_the_measure() -> None:
    gray = photograph(60, 80)[..., :1].repeat(3, 2)
    with pytest.raises(FilteredSample, match=r"a and b are at most 0\.1; give a --min-colour below 5"):
        rows(Colorize(), gray)
    assert rows(Colorize(min_colour=0.0), photograph(60, 80) // 8 + 100)


def test_a_square_without_colour_is_not_the_end_of_the_picture() -> None:
    """Half of it is gray: another square is cut, and no copy is lost."""
    image = photograph(100, 400)
    image[:, :200] = 128
    made = rows(Colorize(), image, 40)
    assert len(made) == 40
    assert all(row["box"][2] > 200 for row in made)


def test_far_out_weights_stay_finite() -> None:
    near, weights = soft_bins(np.array([[-127.0, -127.0]], np.float32), 5)
    assert np.isfinite(weights).all()
    assert np.isclose(weights.sum(), 1)
    assert near[0, 0] == np.linalg.norm(bin_centers() - (-127.0, -127.0), axis=1).argmin()


def test_too_small_is_unusable() -> None:
    with pytest.raises(UnusableSample, match="1 x 1 pixels, too small"):
        rows(Colorize(), np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(UnusableSample, match=r"--crop 0\.05 gives a side below 8"):
        rows(Colorize(crop=0.05), photograph(60, 80))


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"size": 178}, "give e.g. 176 and 4"),
        ({"soft": 33}, "give 0 to 32"),
        ({"stride": 0}, "give 1 or more"),
        ({"crop": 0.0}, "out of range"),
    ],
)
def test_bad_options_are_refused_with_the_remedy(options: dict, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        Colorize(**options)
