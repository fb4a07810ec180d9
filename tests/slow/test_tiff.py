"""Deep TIFF in every layout, and rows of it made twice in memory that is not clean."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import arguments
from tiffs import COLOURS, COMPRESSIONS, TYPES, board, check_eight_bits, check_layout, every_layout, write_tiff

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", TYPES)
def test_every_layout(kind: str) -> None:
    layouts = [layout for layout in every_layout() if layout.type == kind]
    assert len(layouts) == 880
    for layout in layouts:
        check_layout(layout)


def test_every_layout_of_eight_bits() -> None:
    assert check_eight_bits(COMPRESSIONS) == 408


@pytest.mark.parametrize("task", ["jigsaw", "rotate"])
def test_memory_that_was_left_unwritten_reaches_no_row(task: str, tmp_path: Path) -> None:
    rng, many, expected = np.random.default_rng(0), list(every_layout()), set()
    (tmp_path / "source").mkdir()
    for number in range(200):
        layout = many[rng.integers(len(many))]
        channels = COLOURS[layout.colour][1]
        height, width = rng.integers(120, 200, 2)
        pixels = np.dstack([board(rng.integers(0, 256, (3, 3), np.uint8), height, width) for _ in range(channels)])
        pixels = pixels // 2 + rng.integers(0, 128, pixels.shape, np.uint8)
        name = f"{number:03d}.tiff"
        (tmp_path / "source" / name).write_bytes(write_tiff(layout, pixels))
        expected |= set() if layout.refused else {name}
    for value in ("85", "170"):
        command = arguments(task, tmp_path / "source", "--out", tmp_path / value, "--workers", 2, "--quiet")
        subprocess.run(command, env={**os.environ, "MALLOC_PERTURB_": value}, check=True)
    one, other = (sorted((tmp_path / value / "data").iterdir()) for value in ("85", "170"))
    assert [path.name for path in one] == [path.name for path in other]
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in other]
    assert {key for path in one for key in pq.read_table(path, columns=["key"])["key"].to_pylist()} == expected
    assert 140 < len(expected) < 190
