"""The benchmark of teaching runs, is resumed, and its arithmetic of intervals is that of SciPy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw
from runs import HERE

pytestmark = pytest.mark.slow

pytest.importorskip("torch")
pytest.importorskip("sklearn")
BENCHMARKS = HERE.parent / "benchmarks"
SIDE, EACH = 80, 60  # pixels; pictures of each class


def houses_and_trees(folder: Path) -> None:
    """Write pictures with an up and a down, of two classes."""
    rng = np.random.default_rng(0)
    for number in range(2 * EACH):
        name, shade = ("house", "tree")[number % 2], tuple(rng.integers(0, 120, 3).tolist())
        sky = np.full((SIDE, SIDE, 3), rng.integers(160, 256, 3), np.uint8)
        sky[60:] = rng.integers(40, 120, 3)
        picture = Image.fromarray(sky)
        x, draw = int(rng.integers(15, 50)), ImageDraw.Draw(picture)
        draw.rectangle((x, 40, x + (24 if number % 2 == 0 else 4), 66), fill=shade)
        draw.polygon([(x - 8, 40), (x + 12, 14), (x + 32, 40)], fill=tuple(rng.integers(0, 120, 3).tolist()))
        path = folder / "images" / "clothing" / name / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)


def teach(tmp_path: Path, *words: str) -> str:
    command = [sys.executable, str(BENCHMARKS / "teach.py"), "--quick", "--data", str(tmp_path), *words]
    done = subprocess.run(
        [*command, "--work", str(tmp_path / "work")], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_rotations_are_learned_and_a_run_again_trains_nothing(tmp_path: Path) -> None:
    houses_and_trees(tmp_path)
    first = teach(tmp_path, "--only", "rotate")
    found = json.loads((tmp_path / "work" / "teach-quick.json").read_text("utf-8"))["rotate"]
    assert len(found["cases"]) == 2 * 4
    for arm in ("rows", "loader"):
        case = found["cases"][f"{arm} | seed 0 | fold 0"]
        assert case["last_loss"] < 0.7 * case["first_loss"], "these pictures have an up and a down"
    case = found["cases"]["shuffled labels | seed 0 | fold 0"]
    assert case["last_loss"] > 0.8 * case["first_loss"]
    again = teach(tmp_path, "--only", "rotate")
    assert "rotate: there already" in again
    assert again.splitlines()[-1] == first.splitlines()[-1]


def test_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "mask-text: left out: there is no folder" in teach(tmp_path, "--only", "mask-text")


def test_differences_are_taken_pair_by_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    from scipy import stats

    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from teaching.table import difference, interval, values

    ours, theirs = np.random.default_rng(0).random((2, 5))
    cases = {
        f"{arm}{seed}": {"arm": arm, "seed": seed, "fold": 0, "accuracy": figure}
        for arm, figures in (("rows", ours), ("loader", theirs))
        for seed, figure in enumerate(figures)
    }
    mean, errors = difference({"cases": cases}, "rows", "loader")
    assert mean == pytest.approx((ours - theirs).mean())
    assert errors == pytest.approx(2 * stats.sem(ours - theirs))
    low, high = stats.t.interval(0.95, 4, ours.mean(), stats.sem(ours))
    assert interval(values({"cases": cases}, "rows")) == pytest.approx((high - low) / 2)
