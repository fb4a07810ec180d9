"""The turn, read from an arrow that points up and has a green spot on its right."""

from __future__ import annotations

from collections import Counter
from io import BytesIO

import numpy as np
import pytest
from drawn import arrow, far, opened, photograph, rows, sampled
from PIL import Image

from pseudolabel import Colorize, Jigsaw, MaskPatches, PredictContext, Rotate, UnusableSample, UserError
from pseudolabel.readers.image.decode import decode

ANGLES = {0: 90, 1: 180, 2: 270, 3: 0}  # where the arrow points, counter-clockwise from the right, after so many turns


def directions(image: np.ndarray) -> tuple[int, int]:
    """Where the red head and the green spot lie as seen from the middle, counter-clockwise from the right."""
    red, green, blue = np.moveaxis(image.astype(int), 2, 0)
    angles = []
    for spot in (red - green - blue > 100, green - red - blue > 100):
        y, x = np.argwhere(spot).mean(0) - (np.array(image.shape[:2]) - 1) / 2
        angles.append(round(np.degrees(np.arctan2(-y, x)) / 90) * 90 % 360)
    return angles[0], angles[1]


@pytest.mark.parametrize(("height", "width"), [(300, 400), (420, 310)])
@pytest.mark.parametrize("flip", [0, 1])
def test_the_label_is_the_turn(height: int, width: int, flip: int) -> None:
    image = arrow(height, width)
    for four in zip(*[iter(rows(Rotate(crop=1, flip=flip), image, 3))] * 4, strict=True):
        assert sorted(row["label"] for row in four) == [0, 1, 2, 3]
        for row in four:
            head, spot = directions(opened(row["image"]))
            assert head == ANGLES[row["label"]]
            assert spot == (head + (90 if flip else -90)) % 360, "mirrored before it is turned, never after"
    assert Rotate().columns()[0].names == ("0", "90", "180", "270")


def test_the_four_pictures_are_one_and_lie_in_their_box() -> None:
    image, flips, orders = photograph(256, 400), [], Counter()
    for four in zip(*[iter(rows(Rotate(), image, 60))] * 4, strict=True):
        (box,), (flip,) = {tuple(row["box"]) for row in four}, {row["flip"] for row in four}
        assert box[2] - box[0] == box[3] - box[1] == 224
        upright = sampled(image, box, (224, 224), flip)
        for row in four:
            back = np.rot90(opened(row["image"]), -row["label"])  # clockwise again
            assert far(back, upright) < 3.5
            assert (far(opened(row["image"]), upright) > 20) is (row["label"] > 0)
        flips.append(flip)
        orders.update((place, row["label"]) for place, row in enumerate(four))
    assert 15 < sum(flips) < 45
    assert len(orders) == 16, "every turn comes at every place"
    assert sum((count - 15) ** 2 / 15 for count in orders.values()) < 27.9  # chi-square of 9, p = 0.001


@pytest.mark.parametrize("shape", [(1, 1), (15, 90)])
def test_too_small_is_unusable(shape: tuple[int, int]) -> None:
    with pytest.raises(UnusableSample, match="too small"):
        rows(Rotate(), np.zeros((*shape, 3), np.uint8))


def test_what_looks_the_same_upside_down_has_no_label() -> None:
    stripes = np.zeros((100, 120, 3), np.uint8)
    stripes[:, 3:] = 90  # the only line is at the border, where hardly a square is
    with pytest.raises(UnusableSample, match="looks the same upside down"):
        rows(Rotate(crop=0.5), stripes)


def test_a_blank_picture_is_called_blank() -> None:
    """By all tasks whose label nobody could tell from one colour; others make rows of it."""
    for task in (Rotate(), Jigsaw(), PredictContext(), Colorize(min_colour=0)):
        for colour in (90, (200, 10, 10)):
            with pytest.raises(UnusableSample, match=r"^blank: all pixels have one colour$"):
                rows(task, np.full((100, 120, 3), colour, np.uint8))
    assert rows(MaskPatches(), np.full((100, 120, 3), 90, np.uint8))
    half = np.zeros((100, 900, 3), np.uint8)
    half[:, 880:] = 90
    with pytest.raises(UnusableSample, match=r"^the random square has one colour$"):
        rows(Jigsaw(), half)
    clear = np.random.default_rng(0).integers(0, 256, (100, 120, 4), np.uint8)
    clear[..., 3] = 0
    stream = BytesIO()
    Image.fromarray(clear).save(stream, "PNG")
    with pytest.raises(UnusableSample, match=r"^blank: .*, as in an empty or fully transparent image$"):
        rows(Rotate(), decode(stream.getvalue(), "0,1", 50_000_000))


def test_a_flat_square_is_not_the_end_of_the_picture() -> None:
    image = photograph(100, 400)
    image[:, :200] = 128
    made = rows(Rotate(), image, 40)
    assert len(made) == 160
    assert all(row["box"][2] > 200 for row in made)


@pytest.mark.parametrize("options", [{"size": 0}, {"crop": 0}, {"crop": 1.1}, {"flip": 2}])
def test_bad_options_are_refused(options: dict) -> None:
    with pytest.raises(UserError, match="is out of range; give"):
        Rotate(**options)
