"""The largest leak stays closed, and pieces show no phase of resampling; `tests/slow/leaks.py` measures every task."""

from __future__ import annotations

import numpy as np
import pytest
from drawn import rows
from leaks import QUICK, measure, suspects

from pseudolabel import Jigsaw, PredictContext


def test_chroma_does_not_tell_the_turn() -> None:
    assert not list(suspects([measure(QUICK)], level=0.001))


def checks(height: int, width: int, period: int) -> np.ndarray:
    """Noise that repeats every `period` pixels in both directions."""
    noise = np.random.default_rng(2).integers(0, 256, (period, period, 3), np.uint8)
    return np.tile(noise, (height // period + 1, width // period + 1, 1))[:height, :width]


@pytest.mark.parametrize(
    ("preset", "height", "cell"), [("paper225", 400, 117), ("code255", 150, 49), ("paper225", 900, 263)]
)
def test_tiles_of_cells_that_look_the_same_are_the_same(preset: str, height: int, cell: int) -> None:
    """Resized as a whole, by no whole factor, each would show its place: 9 different pictures instead of one."""
    for row in rows(Jigsaw(preset=preset, jitter=0), checks(height, height + 110, cell), 3):
        assert len({tile["bytes"] for tile in row["tiles"]}) == 1


def test_patches_that_show_the_same_are_the_same() -> None:
    """On a pattern of 2 x 2 pixels there are four patches of one scale, by whether left and top are even."""
    for seed in range(4):
        task, image = PredictContext(colour="keep", coarsen=0, rows_per_image=16), checks(300 + seed, 410, 2)
        made = rows(task, image)
        seen = {}
        for row in made:
            for box, name in zip(row["boxes"], ("patch", "neighbour"), strict=True):
                seen.setdefault((box[0] % 2, box[1] % 2), set()).add(row[name]["bytes"])
        assert len(seen) > 1
        assert {len(patches) for patches in seen.values()} == {1}
