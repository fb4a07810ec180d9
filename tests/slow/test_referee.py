"""The referee: its verdicts are the same when it is run again, and its labels are those of the packages' own code."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import HERE

pytestmark = pytest.mark.slow

BENCHMARKS = HERE.parent / "benchmarks"


def referee(work: Path, *words: str) -> str:
    """Run the referee and return what it prints, without its last line, which says how long it took."""
    command = [sys.executable, str(BENCHMARKS / "referee.py"), *words]
    env = {**os.environ, "REFEREE_WORK": str(work), "REFEREE_DATA": str(work / "nowhere")}
    done = subprocess.run(command, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout.rpartition("\n")[0].rpartition("\n")[0]


def table(printed: str) -> list[str]:
    """The rows of the table."""
    return [line for line in printed.splitlines() if line.startswith("mask-patches  ")]


def test_a_run_again_finds_the_same(tmp_path: Path) -> None:
    first, second = (referee(tmp_path, "--only", "mask-patches, pseudolabel", "--rows", "200") for _ in range(2))
    assert len(table(first)) == 3
    assert table(first) == table(second)
    assert "75.0% of places; by place" in first  # MAE hides 147 of 196
    assert "38.3% of places; by place" in first  # BEiT 75 of 196


def test_real_data_that_is_not_there_is_named(tmp_path: Path) -> None:
    printed = referee(tmp_path, "--only", "mask-text, pseudolabel --length 128, novels")
    assert f"there is no folder {tmp_path}/nowhere/text/novels; set REFEREE_DATA" in printed


def test_the_label_of_lightlys_jigsaw_is_the_order_of_its_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lightly")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    from loaders.pictures import CELL, GRID, lightly_jigsaw
    from loaders.prepare import prepare

    prepare()
    from torchvision import transforms

    monkeypatch.setattr(transforms, "RandomResizedCrop", lambda side: transforms.CenterCrop(side))
    cells = np.arange(GRID * GRID, dtype=np.uint8).reshape(GRID, GRID).repeat(CELL, 0).repeat(CELL, 1)
    monkeypatch.setattr("loaders.pictures.files_of", lambda source: [tmp_path / f"{source}.png"])
    Image.fromarray(np.stack([cells] * 3, 2)).save(tmp_path / "cells.png")
    (row,) = lightly_jigsaw("cells")
    assert [int((tile * 255).round().max()) for tile in row["tiles"]] == row["permutation"]
