"""The pair's label, proved on pictures whose red says which they are; and the crops' that they are of one picture."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn import far, opened, photograph, sampled
from runs import FIXTURES

from pseudolabel import AugmentPairs, CropViews, UnusableSample, UserError, run
from pseudolabel import rows as stream_rows
from pseudolabel.contracts import Sample, Skipped, chance_for
from pseudolabel.readers.image.decode import decode
from pseudolabel.tasks.augment_pairs import PairLabeler, SeenPicture
from pseudolabel.tasks.base.task import Row, Rows
from pseudolabel.transforms.image.augment import VIEW_COLUMNS, make_view, read_views
from pseudolabel.transforms.image.codec import encode_jpeg

PLAIN = {"jitter": 0, "gray": 0, "blur": 0, "solarise": 0}  # nothing is done to the colours
STEP = 6  # of red, from one picture to the next


def known(i: int) -> np.ndarray:
    """A picture that is wider than high, whose red is its number."""
    image = photograph(60, 90, seed=i)
    image[..., 0] = STEP * i
    return image


def number(media: dict[str, bytes]) -> int:
    """Which picture a view is of, read from its red."""
    return round(float(np.median(opened(media)[..., 0])) / STEP)


def labelled(task: AugmentPairs, pictures: list[np.ndarray], copies: int = 1) -> tuple[list[Row], list[Skipped]]:
    """The rows of a shard of these pictures, numbered from 0, and what was left out."""
    samples = (Sample(str(i), picture) for i, picture in enumerate(pictures))
    made = list(task.labeler(Path()).label(samples, chance_for(0, task.name), copies))
    assert sum(item.count for item in made) == len(pictures)
    rows = [row for item in made if isinstance(item, Rows) for row in item.rows]
    return rows, [item for item in made if isinstance(item, Skipped)]


@pytest.mark.parametrize("preset", ["simclr", "moco-v2", "moco-v3", "byol"])
@pytest.mark.parametrize("negatives", [0, 1, 3])
def test_the_label_says_whether_both_views_are_of_one_picture(preset: str, negatives: int) -> None:
    task = AugmentPairs(preset=preset, negatives=negatives, size=32, **PLAIN)
    rows, skipped = labelled(task, [known(i) for i in range(40)], copies=2)
    assert not skipped
    assert len(rows) == 40 * 2 * (1 + negatives)
    for row in rows:
        one, other = number(row["view_1"]), number(row["view_2"])
        assert row["label"] == (one == other)
        assert (row["key"], row.get("partner", row["key"])) == (str(one), str(other))
    assert ("partner" in {column.name for column in task.columns()}) is (negatives > 0)
    assert Counter(row["label"] for row in rows) == Counter({1: 80, **({0: 80 * negatives} if negatives else {})})
    assert list(task.columns()[0].names) == ["different", "same"]


def test_false_pairs_take_views_of_true_ones_as_they_are() -> None:
    every, _ = labelled(AugmentPairs(size=32, negatives=2), [known(i) for i in range(40)], copies=2)
    rows = [row for row in every if row["copy"] == 1]
    same = {row["key"]: row for row in rows if row["label"]}
    firsts, seconds = Counter(), Counter()
    for row in rows:
        assert row["view_1"] == same[row["key"]]["view_1"]
        assert row["view_2"] == same[row["partner"]]["view_2"]
        assert read_views(row) == [read_views(same[row["key"]])[0], read_views(same[row["partner"]])[1]]
        if not row["label"]:
            firsts[row["key"]] += 1
            seconds[row["partner"]] += 1
    assert set(firsts.values()) == {2}
    assert len(seconds) > 25, "partners vary"
    pairs = [(row["key"], row["partner"]) for row in rows]
    assert len(set(pairs)) == len(pairs), "no partner is taken twice"
    threes = [*zip(*[iter(every)] * 3, strict=True)]
    assert all(len({(row["key"], row["copy"]) for row in three}) == 1 for three in threes), "they stay together"
    true = Counter([row["label"] for row in three].index(1) for three in threes)
    assert min(true[place] for place in range(3)) > 80 / 3 * 0.5, "the true pair is at every place"


def test_pictures_that_look_alike_are_no_false_pair_and_the_lacking_rows_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    image = photograph(90, 120)
    for name, picture in {
        "as-it-is.png": image,
        "again.jpg": image,
        "half.png": cv2.resize(image, (60, 45), interpolation=cv2.INTER_AREA),
        "bright.jpg": np.clip(image * 1.2, 0, 255),
    }.items():
        cv2.imwrite(str(folder / name), picture)
    done = run(AugmentPairs(size=32, negatives=2), folder, out=tmp_path / "alone", copies=3)
    assert (done.used, done.rows, done.missing_rows) == (4, {"train": 12}, 24)
    lines = [json.loads(line) for line in (tmp_path / "alone" / "_skipped.jsonl").read_text().splitlines()]
    assert sum(line["rows"] for line in lines) == 24
    assert {line["samples"] for line in lines} == {0}
    assert "too few images read together differ enough" in lines[0]["reason"]

    cv2.imwrite(str(folder / "other.png"), photograph(90, 120, seed=8))
    done = run(AugmentPairs(size=32, negatives=1), folder, out=tmp_path / "five")
    pairs = pq.read_table(tmp_path / "five" / "data", columns=["key", "partner", "label"]).to_pylist()
    assert done.missing_rows == 0
    assert all("other.png" in (row["key"], row["partner"]) for row in pairs if not row["label"])


def test_unlike_means_more_than_eight_bits_mirrored_or_not() -> None:
    task, rng = AugmentPairs(size=8), np.random.default_rng(0)
    row = {"copy": 0, "view_2": None, **{column.name: [0, 1] for column in VIEW_COLUMNS}}
    for apart, mirrored, expected in ((8, 30, 0), (9, 9, 1), (30, 8, 0)):
        look = (1 << apart) - 1
        pool = [
            SeenPicture((0, look ^ ((1 << mirrored) - 1)), [{**row, "key": "a"}], [rng]),
            SeenPicture((look, 0), [{**row, "key": "b"}], [rng]),
        ]
        made = list(PairLabeler(task, ())._pair(pool[:1], pool))
        assert sum(row["label"] == 0 for row in made[0].rows if "label" in row) == expected


def test_a_picture_and_its_mirror_image_are_no_false_pair() -> None:
    rows, skipped = labelled(AugmentPairs(size=32), [known(3), np.ascontiguousarray(known(3)[:, ::-1])])
    assert len(rows) == 2
    assert sum(item.rows for item in skipped) == 2


def test_a_shard_has_company_even_of_large_photographs(tmp_path: Path) -> None:
    """Of pictures of 1.2 MB each the first shards would have one, and no partner for it."""
    folder, rng = tmp_path / "large", np.random.default_rng(0)
    folder.mkdir()
    for i in range(17):
        cv2.imwrite(str(folder / f"{i}.png"), rng.integers(0, 256, (640, 640, 3), np.uint8))
    done = run(AugmentPairs(size=16), folder, out=tmp_path / "pairs")
    assert (done.shards, done.rows, done.missing_rows) == (1, {"train": 34}, 0), "the one left over is with the others"
    assert run(AugmentPairs(size=16, negatives=0), folder, out=tmp_path / "same").shards > 2
    assert AugmentPairs(negatives=20).min_shard_extents() == 40


def test_partners_come_from_a_window_and_the_last_few_find_one() -> None:
    """Memory is bounded: after so many pictures partners are chosen; those left over choose among the last of them."""
    rows, skipped = labelled(AugmentPairs(size=32, **PLAIN), [known(i) for i in range(33)])
    assert not skipped
    for row in rows:
        one, other = int(row["key"]), int(row["partner"])
        assert number(row["view_2"]) == other
        assert one // 16 == other // 16 or (one == 32 and other >= 17)


def test_a_stream_of_one_copy_is_what_a_run_of_more_stores(tmp_path: Path) -> None:
    run(AugmentPairs(size=32), FIXTURES / "images", out=tmp_path / "two", copies=2)
    stored = pq.read_table(tmp_path / "two" / "data").to_pylist()
    for copy in (0, 1):
        streamed = list(stream_rows(AugmentPairs(size=32), FIXTURES / "images", copy=copy))
        expected = [row for row in stored if row["copy"] == copy]
        assert [(row["key"], row["partner"], row["view_2"]) for row in streamed] == [
            (row["key"], row["partner"], row["view_2"]) for row in expected
        ]


def test_too_many_views_to_keep_are_refused() -> None:
    with pytest.raises(UserError, match="give fewer --copies or --negatives 0"):
        labelled(AugmentPairs(size=1024), [known(0)], copies=10)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("task", [AugmentPairs(preset="byol", size=48), CropViews(global_size=48, local_size=24)])
def test_views_are_made_again_from_the_source(task: AugmentPairs | CropViews, exact: bool, tmp_path: Path) -> None:
    """By the stored parameters alone: the very bytes of each view of each row, both members of false pairs included."""
    task = replace(task, exact=exact)
    run(task, FIXTURES / "images", out=tmp_path / "made")
    rows = pq.read_table(tmp_path / "made" / "data").to_pylist()
    sources: dict[str, np.ndarray] = {}
    for row in rows:
        keys = [row["key"], row["partner"]] if "partner" in row else [row["key"]] * len(task.recipes)
        stored = [row["view_1"], row["view_2"]] if "partner" in row else [*row["global_crops"], *row["local_crops"]]
        for key, media, view, recipe in zip(keys, stored, read_views(row), task.recipes, strict=True):
            if key not in sources:
                sources[key] = decode((FIXTURES / "images" / key).read_bytes(), "0,255", 10**6)
            assert media["bytes"] == encode_jpeg(make_view(sources[key], view, recipe, exact))


def test_each_crop_is_its_box_of_the_picture() -> None:
    image = photograph(300, 410)
    chance = chance_for(0, "crop-views")
    for i in range(12):
        (row,) = CropViews(preset="dino", **PLAIN).rows(image, chance("a.png", i))
        crops = [*row["global_crops"], *row["local_crops"]]
        assert [crop.shape[0] for crop in crops] == [224] * 2 + [96] * 8
        for crop, box, flip in zip(crops, row["boxes"], row["flips"], strict=True):
            assert far(sampled(image, box, crop.shape[:2], flip), crop) < 3.5
            share = (box[2] - box[0]) * (box[3] - box[1]) / image[..., 0].size
            assert (0.38 if len(crop) == 224 else 0.045) < share <= (1 if len(crop) == 224 else 0.41)
    (one,) = CropViews(preset="swav").rows(image, chance("a.png", 0))
    assert (len(one["global_crops"]), len(one["local_crops"])) == (2, 6)
    (none,) = CropViews(locals=0, global_size=32).rows(image, chance("a.png", 0))
    assert (len(none["global_crops"]), len(none["local_crops"])) == (2, 0)


def test_options_go_before_the_preset() -> None:
    one, two = AugmentPairs(preset="moco-v3", blur=0.3, size=96, min_area=0.5).recipes
    assert (one.blur, two.blur, one.size, one.min_area, two.solarise) == (0.3, 0.3, 96, 0.5, 0.2)
    *large, small = CropViews(preset="dino", local_area=(0.1, 0.2), global_size=160, hue=0.0, locals=1).recipes
    assert [(r.size, r.min_area, r.max_area, r.hue) for r in (*large, small)] == [(160, 0.4, 1, 0)] * 2 + [
        (96, 0.1, 0.2, 0)
    ]


@pytest.mark.parametrize(
    ("task", "options", "remedy"),
    [
        (AugmentPairs, {"preset": "dino"}, "choose among simclr, moco-v2, moco-v3, byol"),
        (AugmentPairs, {"negatives": -1}, "give 0 to 1000"),
        (AugmentPairs, {"gray": 1.5}, "give 0 to 1"),
        (AugmentPairs, {"hue": 0.6}, "give 0 to 0.5"),
        (AugmentPairs, {"min_area": 0.6, "max_area": 0.5}, "give shares with 0 < smallest <= largest"),
        (CropViews, {"local_area": (0.3, 0.2)}, "give shares with 0 < smallest <= largest"),
        (CropViews, {"global_area": (0.0, 0.2)}, "give shares with 0 < smallest <= largest"),
        (CropViews, {"locals": -1}, "give 0 to 100"),
        (CropViews, {"local_area": (0.1, 0.2, 0.3)}, "give 2 numbers"),
        (CropViews, {"sigma": (2.0, 0.1)}, "give the smaller value first"),
        (AugmentPairs, {"brightness": float("inf")}, "give 0 to 10"),
        (AugmentPairs, {"negatives": 1.5}, "give a whole number"),
        (AugmentPairs, {"size": "abc"}, "give a whole number"),
        (AugmentPairs, {"size": 4}, "give 8 to 8192"),
        (AugmentPairs, {"exact": "no"}, "give True or False"),
    ],
)
def test_bad_options_are_refused_with_the_remedy(task: type, options: dict, remedy: str) -> None:
    with pytest.raises(UserError, match=remedy):
        task(**options)


def test_a_picture_too_small_is_unusable() -> None:
    with pytest.raises(UnusableSample, match="1 x 1 pixels, too small"):
        list(CropViews().rows(np.zeros((1, 1, 3), np.uint8), np.random.default_rng(0)))
    rows, skipped = labelled(AugmentPairs(size=32), [known(0), np.zeros((4, 200, 3), np.uint8), known(1)])
    assert [item.reason for item in skipped] == ["200 x 4 pixels, too small: the short side needs 16 or more"]
    assert len(rows) == 4
