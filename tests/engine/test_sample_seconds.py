"""A decoder that never returns is stopped, wherever it is met, and its sample alone is skipped."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from runs import Command, skipped


@pytest.mark.parametrize("where", ["label", *(pytest.param(w, marks=pytest.mark.slow) for w in ("read", "observe"))])
def test_native_code_that_never_returns(where: str, pseudolabel: Command, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for i, height in enumerate([20, 20, 17, 20]):
        cv2.imwrite(str(source / f"{i}.png"), np.zeros((height, 30 + i, 3), np.uint8))
    words = ["deadly", source, "--stick", where, "--out", "out", "--workers", 2, "--sample-seconds", 2, "--json"]
    done = pseudolabel(*words)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["seen"], summary["used"], summary["skipped"]) == (4, 3, 1)
    assert skipped(tmp_path / "out") == {"2.png": "took longer than 2 s (--sample-seconds)"}
    if where == "observe":
        assert set((tmp_path / "out" / "widths.txt").read_text().split()) == {"30", "31", "33"}


@pytest.mark.slow
def test_a_block_of_text_that_never_ends(pseudolabel: Command, tmp_path: Path) -> None:
    lines = [f"line {i} of a long file that is read by ranges, each of them a block" for i in range(40_000)]
    lines[30_000] = "a trap"
    (tmp_path / "long.txt").write_text("\n\n".join(lines), "utf-8")
    words = ["deadly-text", tmp_path / "long.txt", "--out", "out", "--workers", 2, "--sample-seconds", 2, "--json"]
    done = pseudolabel(*words)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["seen"] == len(lines)
    assert summary["used"] + summary["skipped"] == len(lines)
    assert 0 < summary["skipped"] < len(lines) / 2
    ((key, reason),) = skipped(tmp_path / "out").items()
    start, stop = map(int, key.partition("#")[2].split("-"))
    assert start <= (tmp_path / "long.txt").read_bytes().index(b"a trap") < stop, "it is the block that holds the trap"
    assert reason == "took longer than 2 s (--sample-seconds)"
