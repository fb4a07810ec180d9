"""JPEGs decoded at a half, a quarter or an eighth, compared with a whole decode by Pillow that is then averaged."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from PIL import Image, ImageOps

from pseudolabel import AugmentPairs, Colorize, CropViews, Jigsaw, MaskPatches, PredictContext, Rotate, rows
from pseudolabel.contracts import Skipped, Split, UnusableSample, chance_for, or_skipped
from pseudolabel.contracts.schema import arrow_schema
from pseudolabel.readers.image.decode import decode
from pseudolabel.readers.image.reduction import ReducedImage, reduction
from pseudolabel.tasks.base.task import ImageTask, row_columns
from pseudolabel.transforms.image.crops import CropRule, crop, least_sides

LAKE = Path(__file__).parents[2] / "fixtures" / "images" / "lakes" / "01.png"
LIMIT = 10**8
ALL = Split("train", 0.0, 1.0)


def photograph(width: int, height: int, orientation: int = 1, sampling: str = "4:2:0", quality: int = 92) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = BytesIO()
    shown = Image.open(LAKE).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    shown.save(file, "JPEG", quality=quality, subsampling=sampling, exif=exif)
    return file.getvalue()


def averaged(data: bytes, factor: int) -> np.ndarray:
    """The whole picture by Pillow, upright, then the mean of whole blocks."""
    whole = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))), float)
    height, width = (side // factor for side in whole.shape[:2])
    return whole[: height * factor, : width * factor].reshape(height, factor, width, factor, 3).mean((1, 3))


def shift(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """By how many pixels `one` lies right of and below `other`, by least squares on the gradient."""
    gray, apart = other.mean(2), (one - other).mean(2)
    down, across = np.gradient(gray)
    slopes = -np.stack([across, down], 2)[2:-2, 2:-2].reshape(-1, 2)
    return np.asarray(np.linalg.lstsq(slopes, apart[2:-2, 2:-2].ravel(), rcond=None)[0])


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_it_is_the_mean_and_lies_where_the_source_lies(factor: int) -> None:
    for (width, height), sampling in product([(640, 480), (647, 487)], ["4:2:0", "4:4:4", "4:2:2"]):
        data = photograph(width, height, sampling=sampling)
        made, expected = decode(data, "0,1", LIMIT, factor=factor).astype(float), averaged(data, factor)
        assert made.shape == expected.shape == (height // factor, width // factor, 3)
        if sampling == "4:2:2":  # chroma is as fine as luma at half of the size, which must suffice then
            assert (
                np.abs(
                    cv2.resize(made, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                    - cv2.resize(expected, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                ).mean()
                < 1.5
            )
        else:
            assert np.abs(made - expected).mean() < 1
        assert np.abs(shift(made, expected)).max() < 0.05
        moved = cv2.warpAffine(expected, np.float64([[1, 0, 0.5], [0, 1, 0]]), expected.shape[1::-1])
        assert shift(moved, expected)[0] > 0.3, "half a pixel would be seen"
    for orientation in (2, 3, 5, 8):
        data = photograph(640, 480, orientation)
        assert np.abs(decode(data, "0,1", LIMIT, factor=factor) - averaged(data, factor)).mean() < 2


def test_the_factor_leaves_what_suffices_and_begins_at_a_pixel() -> None:
    def most(side: int, data: bytes) -> int:
        return reduction(data, lambda height, width: min(height, width) >= side)

    assert [most(side, photograph(640, 480)) for side in (60, 61, 120, 121, 240, 241)] == [8, 4, 4, 2, 2, 1]
    assert [most(60, photograph(645, 483, orientation)) for orientation in (1, 3, 6)] == [8, 1, 1]
    assert most(60, photograph(640, 480, sampling="4:2:2")) == 4, "so that chroma suffices"
    wide = [reduction(photograph(640, 480, way), lambda height, width: width >= 300) for way in (1, 6)]
    assert wide == [2, 1], "of the upright image"
    assert reduction(LAKE.read_bytes(), lambda height, width: True) == 1, "PNG"
    with pytest.raises(UnusableSample, match="640 x 480 pixels, above"):
        decode(photograph(640, 480), "0,1", 10**5, factor=8)


@pytest.mark.parametrize("factor", [2, 8])
def test_damage_is_found_as_in_a_whole_decode(factor: int) -> None:
    found = 0
    for sampling in ("4:2:0", "4:2:2"):
        data = photograph(320, 240, sampling=sampling)
        start = data.index(b"\xff\xda") + 20
        for at in np.linspace(start, len(data) - 200, 8).astype(int).tolist():
            for broken in (data[:at] + bytes(60) + data[at + 60 :], data[:at] + data[at + 50 :], data[:at]):
                whole, part = (or_skipped(partial(decode, broken, "0,1", LIMIT, factor=by)) for by in (1, factor))
                assert isinstance(whole, Skipped) == isinstance(part, Skipped)
                found += isinstance(whole, Skipped)
    assert found > 24
    table = data.index(b"\xff\xdb")
    junk = data[:table] + b"\x0d" + data[table:]  # which decoders pass over
    assert np.abs(decode(junk, "0,1", LIMIT, factor=factor) - averaged(data, factor)).mean() < 2


@pytest.mark.parametrize("rule", CropRule)
def test_no_crop_is_smaller_than_the_least_sides(rule: CropRule) -> None:
    rng = np.random.default_rng(0)
    for height, width, area, shape in ((300, 400, 0.08, 1.0), (90, 900, 0.2, 1.0), (700, 210, 0.1, 2.0)):
        h, w = least_sides(rule, height, width, area, shape)
        boxes = [crop(rule, height, width, (area, 1), rng, shape) for _ in range(200)]
        assert min(box.bottom - box.top for box in boxes) >= h - 1
        assert min(box.right - box.left for box in boxes) >= w - 1


SMALL: tuple[ImageTask, ...] = (
    Rotate(size=48),
    Colorize(size=48),
    MaskPatches(height=48, width=32),
    Jigsaw(tile=16, cell=19, gray=0),
    PredictContext(patch=16, gap=8, jitter=1, least_pixels=6000, most_pixels=9000, coarsen=0),
    AugmentPairs(size=32, negatives=0),
    CropViews(global_size=32, local_size=16),
)


@pytest.mark.parametrize("task", SMALL, ids=lambda task: task.name)
def test_boxes_count_pixels_of_the_source_and_the_rows_hold(task: ImageTask, tmp_path: Path) -> None:
    """A copy of the picture as PNG is not reduced: rows of its boxes look the same."""
    (tmp_path / "a.jpg").write_bytes(photograph(645, 483))
    whole = np.asarray(Image.open(tmp_path / "a.jpg"))
    (sample,) = task.reader().read(task.reader().scan("a", str(tmp_path / "a.jpg"), 1), ALL)
    factor = sample.payload.factor
    assert factor > 1
    for row in rows(task, tmp_path):
        boxes = np.array(row.get("boxes") or [row["box"]])
        assert not (boxes % factor).any()
        assert boxes.min() >= 0
        assert (boxes[:, 2:] <= (645, 483)).all()
        assert boxes.max() > 645 // factor
        if task.name in ("rotate", "mask-patches", "jigsaw"):  # colours of the others change, or decide
            assert task.check_row(row, whole) is None
    (made,) = task.labeler(tmp_path).label(iter([sample]), chance_for(0, task.name), 1)
    table = pa.RecordBatch.from_pylist(made.rows, arrow_schema(row_columns(task), {}))
    assert set(task.labeler(tmp_path).check_rows(table, made.source)) == {None}
    assert set(task.labeler(tmp_path).check_rows(table, None)) == {None}


def test_a_narrow_image_makes_no_question_about_an_image_without_pixels() -> None:
    asked = PredictContext().suffices
    for width, height in ((500, 7), (3, 500), (1, 1)):
        assert reduction(photograph(width, height), asked) == 1
        assert reduction(photograph(width, height), lambda height, width: 1 / (height * width) > 0) <= min(
            width, height
        )


def test_an_answer_may_be_a_bool_of_numpy() -> None:
    assert reduction(photograph(640, 480), lambda height, width: np.min([height, width]) >= 60) == 8


def test_a_part_of_a_reduced_image_keeps_the_factor() -> None:
    image = ReducedImage(np.zeros((9, 8, 3), np.uint8), 4)
    assert image[2:5].factor == image[:, 1:].copy().factor == 4
