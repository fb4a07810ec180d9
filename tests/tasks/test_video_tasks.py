"""Tasks over films: the counter in every frame undoes each label, by other means than the tasks' own."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from drawn import opened, photograph
from reels import HEIGHT, WIDTH, counted, number, write
from scipy.stats import chisquare

from pseudolabel import ArrowOfTime, MaskTubes, PredictPace, ShuffleClips, ShuffleFrames, run
from pseudolabel import rows as stream_rows
from pseudolabel.contracts import FilteredSample, UserError, chance_for
from pseudolabel.readers.video.reader import Clip
from pseudolabel.tasks.base.task import Row
from pseudolabel.tasks.base.video import Crop, VideoTask
from pseudolabel.transforms.video.motion import cut_score

RATE = 25


@pytest.fixture(scope="module")
def reel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen seconds, a counter in every frame."""
    return write(tmp_path_factory.mktemp("reels") / "counted.mp4", [counted(i) for i in range(400)])


def rows(task: VideoTask, source: Path, copies: int = 1) -> list[Row]:
    return [row for copy in range(copies) for row in stream_rows(task, source, copy=copy)]


def seen(row: Row, column: str) -> list[int]:
    """The counters of a row's frames, found where its boxes say."""
    boxes = row["boxes"]
    return [number(opened(f), *box[:2]) for f, box in zip(row[column], boxes, strict=True)]


def drawn(task: VideoTask, frames: np.ndarray, count: int) -> list[Row]:
    """Rows of one clip, by as many chances."""
    clip, chance = Clip(frames, np.array(task.sampling.steps) / RATE), chance_for(0, task.name)
    return [row for i in range(count) for row in task.rows(clip, chance("a", i))]


def even(labels: list[int], shares: list[float]) -> bool:
    """Whether labels come in such shares, by a chi-square test."""
    counts = Counter(labels)
    found = [counts[label] for label in range(len(shares))]
    assert sum(found) == len(labels)
    return bool(chisquare(found, np.array(shares) * len(labels)).pvalue > 0.001)


# --- what holds for each of them -------------------------------------------------------------------------------------

TASKS = [
    *(
        ShuffleFrames(),
        ShuffleFrames(preset="opn", size=110, resize=128),
        ShuffleFrames(preset="verify"),
        ShuffleFrames(frames=5, gap=8),
    ),
    *(ShuffleClips(), ArrowOfTime(), PredictPace(), MaskTubes(size=112, resize=128)),
]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.name}-{getattr(task, 'preset', '')}")
def test_time_stamps_are_those_of_the_frames_shown(task: VideoTask, reel: Path) -> None:
    """Whatever is shown, and wherever it was cut out: the counter says which frame it is, and the stamp agrees."""
    made = rows(task, reel)
    assert made
    for row in made:
        if task.name == "shuffle-clips":
            assert len(row["boxes"]) == 3
            shown = [
                [number(opened(f), *box[:2]) for f in c] for c, box in zip(row["clips"], row["boxes"], strict=True)
            ]
        else:
            shown = seen(row, "frames" if "frames" in row else "clip")
        assert (np.array(row["timestamps"]) * RATE).round().astype(int).tolist() == shown


@pytest.mark.parametrize("task", [task for task in TASKS if "order" in {c.name for c in task.columns()}], ids=str)
def test_order_undone_gives_rising_time_stamps(task: VideoTask, reel: Path) -> None:
    for row in rows(task, reel, copies=3):
        times = np.array(row["timestamps"]).reshape(len(row["order"]), -1)[np.argsort(row["order"])]
        assert (np.diff(times.ravel()) > 0).all()


def test_every_task_has_the_square_in_one_place(reel: Path) -> None:
    for task in TASKS:
        for row in rows(task, reel)[:4]:
            size, resize, _, jitter = task.framing
            boxes = np.array(row["boxes"])
            assert (np.ptp(boxes, axis=0) <= 2 * jitter).all()
            assert (boxes[:, 2:] - boxes[:, :2] == size).all()
            assert boxes.min() >= 0
            assert (boxes.max(0) <= (round(WIDTH * resize / HEIGHT), resize) * 2).all()


def test_jitter_moves_each_frame_by_itself_and_no_further(reel: Path) -> None:
    task = ShuffleFrames(size=110, jitter=4)
    made = rows(task, reel, copies=4)
    boxes = np.array([row["boxes"] for row in made])[..., :2]
    assert np.ptp(boxes, axis=1).max() == 8
    assert np.ptp(boxes, axis=1).min() >= 0
    assert len(np.unique(boxes[..., 0])) > 15, "the square itself is anywhere"
    for row in made:
        assert (np.array(row["timestamps"]) * RATE).round().astype(int).tolist() == seen(row, "frames")
    clips = np.array([row["boxes"] for row in rows(ShuffleClips(size=110, jitter=4), reel, copies=4)])
    assert np.ptp(clips, axis=1).max() > 2


# --- each label ------------------------------------------------------------------------------------------------------


def test_shuffled_frames_are_labelled_with_their_order(reel: Path) -> None:
    task = ShuffleFrames()
    names = next(c.names for c in task.columns() if c.name == "label")
    assert list(names) == ["-".join(map(str, order)) for order in permutations(range(4))]
    for row in rows(task, reel, copies=3):
        counters = seen(row, "frames")
        order = [sorted(counters).index(counter) for counter in counters]
        assert row["order"] == order
        assert names[row["label"]] == "-".join(map(str, order))
        assert np.diff(sorted(counters)).tolist() == pytest.approx([12.5] * 3, abs=0.6)


def test_opn_has_twelve_classes_of_an_order_and_its_reverse(reel: Path) -> None:
    task = ShuffleFrames(preset="opn", size=112, resize=128, jitter=0)
    names = next(c.names for c in task.columns() if c.name == "label")
    table = "1234 1324 1342 1243 1423 1432 2134 2143 2314 3124 3142 3214"  # HsinYingLee/OPN, UCF_datalayers.py
    assert sorted(names) == sorted("-".join(str(int(place) - 1) for place in order) for order in table.split())
    for row in rows(task, reel, copies=6):
        counters = seen(row, "frames")
        order = [sorted(counters).index(counter) for counter in counters]
        assert names[row["label"]] in ("-".join(map(str, order)), "-".join(map(str, order[::-1])))
    assert ShuffleFrames(preset="opn").framing[:2] == (80, 240)


def test_verify_asks_whether_frames_are_in_order(reel: Path) -> None:
    kinds = set()
    for row in rows(ShuffleFrames(preset="verify"), reel, copies=20):
        steps = np.sign(np.diff(seen(row, "frames")))
        assert row["label"] == (abs(steps.sum()) == 2)
        kinds.add((tuple(row["order"]), row["label"]))
    shown = [((1, 2, 3), 1), ((1, 0, 3), 0), ((1, 4, 3), 0)]
    assert kinds == {pair for order, label in shown for pair in ((order, label), (order[::-1], label))}


def test_shuffled_clips_are_labelled_with_their_order(reel: Path) -> None:
    task = ShuffleClips()
    for row in rows(task, reel, copies=3):
        pairs = zip(row["clips"], row["boxes"], strict=True)
        counters = np.array([[number(opened(f), *box[:2]) for f in clip] for clip, box in pairs])
        assert (np.diff(counters, axis=1) == 1).all(), "16 frames in a row"
        assert np.diff(np.sort(counters[:, 0])).tolist() == [24, 24], "8 are left out between two clips"
        order = tuple(int(place) for place in np.argsort(np.argsort(counters[:, 0])))
        assert row["order"] == list(order)
        assert row["label"] == sorted(permutations(range(3))).index(order)


def test_the_arrow_of_time_is_that_of_the_counters(reel: Path) -> None:
    made = rows(ArrowOfTime(), reel, copies=3)
    for row in made:
        steps = np.diff(seen(row, "clip"))
        assert (steps < 0).all() if row["label"] else (steps > 0).all()
    assert {row["label"] for row in made} == {0, 1}


def test_the_pace_is_the_step_of_the_counters(reel: Path) -> None:
    made = rows(PredictPace(), reel, copies=8)
    for row in made:
        assert (np.diff(seen(row, "clip")) == row["label"] + 1).all()
    assert {row["label"] for row in made} == {0, 1, 2, 3}


def test_tubes_go_through_the_whole_clip_and_hide_as_many(reel: Path) -> None:
    made = rows(MaskTubes(), reel, copies=5)
    masks = np.array([row["bool_masked_pos"] for row in made]).reshape(len(made), 8, 196)
    assert (masks == masks[:, :1]).all(), "the same patches at all times"
    assert (masks[:, 0].sum(1) == 176).all(), "int(0.9 * 196)"
    assert 0.8 < masks[:, 0].mean(0).max() <= 1
    assert len({mask.tobytes() for mask in masks[:, 0]}) == len(made)
    for row in made:
        assert len(row["clip"]) == 16
        assert (np.diff(row["timestamps"]) * RATE).round().tolist() == [4] * 15


@pytest.mark.parametrize(
    ("task", "shares"),
    [
        (ShuffleFrames(), [1 / 24] * 24),
        (ShuffleFrames(frames=3), [1 / 6] * 6),
        (ShuffleFrames(preset="opn"), [1 / 12] * 12),
        (ShuffleFrames(preset="verify"), [0.75, 0.25]),
        (ShuffleClips(frames=2), [1 / 6] * 6),
        (ArrowOfTime(frames=4), [0.5, 0.5]),
        (PredictPace(frames=4), [0.25] * 4),
    ],
    ids=str,
)
def test_labels_come_in_their_shares(task: VideoTask, shares: list[float]) -> None:
    frames = np.stack([counted(7 * i) for i in range(len(task.sampling.steps))])
    made = drawn(replace(task, size=16, place=Crop.centre, min_motion=0, max_cut=1), frames, 2000)
    assert even([row["label"] for row in made], shares)


# --- labels that would be false --------------------------------------------------------------------------------------


SLOW_STILL = [ShuffleFrames(), ShuffleFrames(preset="opn", size=112, resize=128), ShuffleClips()]
STILL = [
    *(ShuffleFrames(size=100, jitter=10), ShuffleClips(size=100, jitter=10)),
    *(ArrowOfTime(size=100, jitter=10), PredictPace()),
    *(pytest.param(task, marks=pytest.mark.slow) for task in SLOW_STILL),
]


@pytest.mark.parametrize("task", STILL, ids=lambda task: f"{task.name}-{task.framing.jitter}")
def test_a_film_without_motion_is_filtered_with_what_was_measured(task: VideoTask, tmp_path: Path) -> None:
    """Grain, a camera that adapts its exposure and our own jitter are no motion; --min-motion 0 takes all the same."""
    rng, still = np.random.default_rng(3), 60 + counted(77).astype(int) // 2
    noisy = [
        (still * (1 + 0.1 * np.sin(i / 10)) + rng.normal(0, 3.5, still.shape)).clip(0, 255).astype(np.uint8)
        for i in range(100)
    ]
    path = write(tmp_path / "still.mp4", noisy)
    out = tmp_path / "out"
    with pytest.raises(UserError, match="no row"):
        run(task, path, out=out)
    lines = (out / "_skipped.jsonl").read_text().splitlines()
    assert lines
    assert all("too little motion: 0." in line and '"filtered"' in line for line in lines)
    assert rows(replace(task, min_motion=0), path)


def test_frames_that_come_back_are_no_order() -> None:
    """To and fro: the first frame is the third, and the clip is its own reverse."""
    back = np.stack([counted(i) for i in (5, 90, 5, 300)])
    with pytest.raises(FilteredSample, match=r"too little motion: 0\.00 gray levels"):
        drawn(ShuffleFrames(max_cut=1), back, 1)
    with pytest.raises(FilteredSample, match="too little motion"):
        drawn(ArrowOfTime(frames=4), np.stack([counted(i) for i in (5, 90, 90, 5)]), 1)
    assert drawn(ShuffleFrames(max_cut=1), np.stack([counted(i) for i in (5, 90, 6, 300)]), 1)


def test_what_moves_only_elsewhere_is_no_motion_of_the_square() -> None:
    frames, leaves = np.full((4, HEIGHT, 180, 3), 90, np.uint8), photograph(HEIGHT, 60)
    for i in range(4):
        frames[i, :, :60] = np.roll(leaves, 30 * i, 0)  # all of it at the left
    clip = Clip(frames, np.arange(4.0))
    chance = chance_for(0, "shuffle-frames")
    with pytest.raises(FilteredSample):
        list(ShuffleFrames(size=48, place="centre").rows(clip, chance("a", 0)))
    (row,) = ShuffleFrames(size=48, place="busiest").rows(clip, chance("a", 0))
    assert row["boxes"][0][0] < 60
    for i in range(4):  # of ten squares at random one that shows it is taken
        (row,) = ShuffleFrames(size=48).rows(clip, chance("a", i))
        assert row["boxes"][0][0] < 60


def test_a_cut_is_filtered_with_what_was_measured(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    shots = [
        np.clip(rng.normal(shade, 30, (HEIGHT, WIDTH, 3)), 0, 255).astype(np.uint8)
        for shade in ((200, 60, 30), (30, 60, 200))
    ]
    frames = [np.roll(shots[i >= 50], 3 * i, 1) for i in range(100)]
    path = write(tmp_path / "cut.mp4", frames)
    keys = {row["key"] for row in rows(ShuffleFrames(gap_seconds=0.2, min_motion=0), path)}
    every = {row["key"] for row in rows(ShuffleFrames(gap_seconds=0.2, min_motion=0, max_cut=1), path)}
    spans = {key: tuple(map(float, key.split("#")[1].split("-"))) for key in every}
    assert every - keys == {key for key, (begin, end) in spans.items() if begin < 2 <= end} != set(), (
        "the cut is at 2 s"
    )


def test_a_cut_is_scored_by_the_histograms_of_its_definition() -> None:
    frames = np.stack([photograph(128, 128, seed=i) >> i for i in range(3)])
    small = frames.reshape(3, 64, 2, 64, 2, 3).astype(int).sum((2, 4))
    small = np.floor(small / 4 + 0.5)  # areas of 2 x 2, as OpenCV rounds them
    scores = []
    for shown in (small, (small - small.mean((1, 2, 3), keepdims=True) + 128).clip(0, 255)):
        counts = [np.histogramdd(f.reshape(-1, 3), 8, [(0, 256)] * 3)[0] / 4096 for f in shown]
        scores.append([np.abs(after - before).sum() / 2 for before, after in pairwise(counts)])
    assert cut_score(frames) == pytest.approx(np.min(scores, 0).max(), abs=1e-3)


def test_an_uneven_rate_has_no_pace(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(2).integers(10, 90, 120)) / 1000
    path = write(tmp_path / "vfr.mkv", [counted(i) for i in range(120)], times=times.tolist())
    with pytest.raises(UserError, match="no row"):
        run(PredictPace(), path, out=tmp_path / "out")
    assert "unevenly spaced" in (tmp_path / "out" / "_skipped.jsonl").read_text()
    assert rows(ShuffleFrames(gap_seconds=0.3), path)


@pytest.mark.parametrize(("rate", "gap", "steps"), [(10, 0.04, 2.5), (10, 0.08, 1.25), (10, 0.14, 0.71), (25, 0.04, 1)])
def test_a_pace_that_whole_frames_cannot_give_is_filtered(rate: int, gap: float, steps: float, tmp_path: Path) -> None:
    """`steps`: how many times the gap that was asked for lies between two frames of the slowest pace."""
    path, task = write(tmp_path / "a.mp4", [counted(i) for i in range(100)], rate=rate), PredictPace(gap_seconds=gap)
    if 1 / 1.25 <= steps <= 1.25:
        for row in rows(task, path):
            step = np.diff(row["timestamps"]).mean() / (row["label"] + 1)
            assert step == pytest.approx(steps * gap)
        return
    with pytest.raises(UserError, match="no row"):
        run(task, path, out=tmp_path / "out")
    lines = (tmp_path / "out" / "_skipped.jsonl").read_text().splitlines()
    assert lines
    said = f"--gap-seconds {gap}, in whole frames at their usual distance in the video, takes 0.1 s here; "
    assert all(f"{said}give --gap-seconds 0.16 or more, which fits" in line for line in lines)
    assert all('"filtered"' in line for line in lines)


def test_the_largest_step_that_is_proposed_fits_films_of_all_rates(tmp_path: Path) -> None:
    for rate in (10, 12, 24):
        write(tmp_path / f"{rate}.mp4", [counted(i)[::2, ::2] for i in range(80)], rate=rate)
    small = {"frames": 4, "paces": 2, "size": 32, "resize": 32, "min_motion": 0.0, "max_cut": 1.0}
    run(PredictPace(gap_seconds=0.04, **small), tmp_path, out=tmp_path.parent / "out")
    told = re.findall(r"--gap-seconds ([0-9.]+) or more", (tmp_path.parent / "out" / "_skipped.jsonl").read_text())
    assert set(told) == {"0.16", "0.135"}
    for gap in (0.16, 0.25, 0.4):
        made = rows(PredictPace(gap_seconds=gap, **small), tmp_path)
        assert {row["key"].partition("#")[0] for row in made} == {"10.mp4", "12.mp4", "24.mp4"}
        for row in made:
            step = np.diff(row["timestamps"]).mean() / (row["label"] + 1)
            assert gap / 1.26 < step < gap * 1.26


def test_a_film_whose_rate_falls_midway_keeps_its_pace(tmp_path: Path) -> None:
    """Ten frames a second in the first half, 25 in the second: only the second has the pace that is asked for."""
    times = [*np.arange(100) / 10, *(10 + np.arange(250) / 25)]
    path = write(tmp_path / "a.mkv", [counted(i) for i in range(350)], times=times)
    made = rows(PredictPace(gap_seconds=0.04), path)
    assert made
    for row in made:
        assert row["timestamps"][0] >= 9.9
        assert np.diff(row["timestamps"]).mean() == pytest.approx(0.04 * (row["label"] + 1), abs=0.002)


def test_a_pace_that_a_variable_rate_does_not_keep_is_filtered_with_the_reason(tmp_path: Path) -> None:
    """At the usual distance of 80 ms one frame is nearest to 0.1 s; where frames are 40 ms apart it is 0.04 s."""
    times = [*np.arange(40) / 25, *(1.6 + np.arange(60) / 12.5)]
    path = write(tmp_path / "a.mp4", [counted(i)[::2, ::2] for i in range(100)], times=times)
    small = {"frames": 4, "paces": 2, "size": 32, "resize": 32, "min_motion": 0.0, "max_cut": 1.0}
    run(PredictPace(gap_seconds=0.1, **small), path, out=tmp_path / "out")
    said = "--gap-seconds 0.1, in whole frames at their usual distance in the video, takes 0.04 s here: the rate of the"
    assert f'"{said} video varies"' in (tmp_path / "out" / "_skipped.jsonl").read_text()


def test_a_copy_that_shows_nothing_takes_no_other_with_it(tmp_path: Path) -> None:
    """What moves is in a corner: squares at random find it in some copies; the others are lacking, not the sample."""
    frames = [np.full((HEIGHT, 400, 3), 90, np.uint8) for _ in range(80)]
    for i, image in enumerate(frames):
        image[:40, 360:] = np.roll(photograph(HEIGHT, 40), 9 * i, 0)[:40]
    path, task = write(tmp_path / "corner.mp4", frames), ShuffleFrames(size=48)
    summary = run(task, path, out=tmp_path / "out", copies=12)
    assert summary.used == summary.seen > 0
    assert 0 < summary.lacking < 12 * summary.used
    assert summary.rows["train"] + summary.lacking == 12 * summary.used
    assert summary.rows["train"] == len(rows(task, path, copies=12)), "as the stream has them"


def test_copies_and_tasks_have_the_same_clips_and_other_seeds_others(reel: Path) -> None:
    one, other = ArrowOfTime(frames=4, every_seconds=4.0), ShuffleFrames(gap_seconds=0.1, every_seconds=4.0)
    asked = [(one, 0, 0), (one, 0, 1), (other, 0, 0), (one, 1, 0)]
    keys = [[row["key"] for row in stream_rows(task, reel, seed=seed, copy=copy)] for task, seed, copy in asked]
    assert keys[0] == keys[1] == keys[2]
    assert not set(keys[0]) & set(keys[3])


# --- options ---------------------------------------------------------------------------------------------------------


def test_clips_per_video_and_every_seconds(reel: Path, tmp_path: Path) -> None:
    run(ShuffleFrames(clips_per_video=3), reel, out=tmp_path / "three")
    begins = [
        float(key.split("#")[1].split("-")[0]) for key in pq.read_table(tmp_path / "three" / "data")["key"].to_pylist()
    ]
    assert len(begins) == 3
    assert "interlaced frames are deinterlaced" in (tmp_path / "three" / "README.md").read_text().lower()
    assert np.diff(sorted(begins)).tolist() == pytest.approx([(16 - 0.5 - 1.5) / 3] * 2, abs=0.05)
    made = rows(ShuffleFrames(every_seconds=4.0), reel)
    begins = sorted(float(row["key"].split("#")[1].split("-")[0]) for row in made)
    assert 0.5 <= begins[0] < 4.5
    assert np.diff(begins).tolist() == pytest.approx([4] * (len(begins) - 1))
    assert len(begins) in (3, 4)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ShuffleFrames(size=128, jitter=5), "needs 138 pixels, but --resize is 128"),
        (lambda: ShuffleFrames(preset="verify", frames=4), "--preset verify shows three frames"),
        (lambda: ShuffleFrames(preset="opn", frames=2), "two frames have no other order; give --frames 3 or more"),
        (lambda: ShuffleFrames(frames=8), "--frames 8 is out of range"),
        (lambda: MaskTubes(size=100), "not a multiple of --patch 16"),
        (lambda: MaskTubes(frames=15), "not a multiple of --tubelet 2"),
        (lambda: MaskTubes(ratio=0.001), "masks all or none"),
        (lambda: PredictPace(gap=1, gap_seconds=0.1), "give one of them"),
    ],
)
def test_options_that_cannot_be(make: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        make()  # type: ignore[operator]
