"""The benchmarks, of small inputs and without peers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from runs import HERE, SHARED

pytestmark = pytest.mark.slow

BENCHMARKS = HERE.parent / "benchmarks"


def measure(work: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "run.py"), "--quick", "--times", "1", "--work", str(work), *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """An interpreter that has no packages at all."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    return tmp_path / "bare" / "bin" / "python"


@pytest.mark.skipif(not SHARED.exists(), reason="needs real files")
def test_each_row_is_measured_and_a_peer_that_is_not_installed_is_named(tmp_path: Path, bare: Path) -> None:
    done = measure(tmp_path, "--data", str(SHARED), "--peers", str(bare))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    listed = measure(tmp_path, "--list").stdout.splitlines()
    assert len(listed) == 15
    assert {(row["task"], row["input"]) for row in results["rows"]} >= {("jigsaw", "200 photographs")}
    assert len({(row["task"], row["input"]) for row in results["rows"]}) == len(listed)
    assert all(row["wall"]["min"] > 0 and row["cpu"]["min"] > 0 for row in results["rows"])
    assert "lightly is left out: lightly, torch, pyarrow not installed" in done.stdout
    assert "| `mask-text` | 8 MB of novels | 1 |" in done.stdout
    assert not list(tmp_path.glob("scratch*"))


def test_a_run_that_hangs_is_ended_and_the_others_go_on(tmp_path: Path, bare: Path) -> None:
    """No row can be made within a tenth of a second."""
    (tmp_path / "phone-6").mkdir()
    done = measure(tmp_path, "--only", "cluster", "--patience", "0.1", "--peers", str(bare))
    assert done.returncode == 1
    runs = json.loads((tmp_path / "results.json").read_text())["runs"]
    assert {run["failure"] for run in runs.values()} == {"did not end within 0.1 s: "}


def test_missing_real_files_are_named(tmp_path: Path) -> None:
    done = measure(tmp_path, "--data", str(tmp_path / "nowhere"), "--only", "mask-audio")
    assert done.returncode == 5
    assert f"mask-audio speech-4min is left out: speech-4min: there is no folder {tmp_path}" in done.stdout


@pytest.mark.skipif(not SHARED.exists(), reason="needs real files")
def test_the_stages_of_a_row_are_the_whole_of_its_time(tmp_path: Path) -> None:
    words = ["mask-text novels-4mb", "--work", str(tmp_path), "--data", str(SHARED)]
    done = subprocess.run([sys.executable, str(BENCHMARKS / "profile_rows.py"), *words], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    cpu, wall = done.stdout.split("wall seconds")
    shares = [float(line.split()[-2]) for line in cpu.splitlines()[1:] if line.endswith("%")]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert "start-up, imports" in cpu
    assert "worker 2 waits for a job" in wall
