"""Sources, runs of the command as the user starts it, and what lies in a dataset."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from filelock import FileLock

from pseudolabel import TASKS, Task
from pseudolabel.testing.checks import make_dataset
from pseudolabel.testing.fixtures import source_of

HERE = Path(__file__).parents[1]

FIXTURES = HERE.parent / "fixtures"

SHARED = HERE.parents[1] / "shared" / "data"


def real(task: str) -> bool:
    """Whether a task is none of the tests' own."""
    return not task.startswith("deadly")


NAMES = sorted(filter(real, TASKS))

KINDS = ("jigsaw", "augment-pairs", "cluster", "mask-text", "order-sentences", "mask-audio", "shuffle-frames")

each_kind = pytest.mark.parametrize(  # of a question that starts processes: one task of each kind, the others are slow
    "task", [name if name in KINDS else pytest.param(name, marks=pytest.mark.slow) for name in NAMES], indirect=True
)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, once for all processes of the tests. Not to be written to."""
    base = factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-gw") else base) / "once" / name  # so xdist names it
    folder.parent.mkdir(exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            make(folder)
    return folder


def draw(folder: Path) -> Path:
    """15 MB of pictures in four folders: more than 12 shards at --shard-size 1."""
    rng = np.random.default_rng(7)
    for i in range(60):
        (folder / f"class-{i % 4}").mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 255, (300, 260 + i, 3), np.uint8)  # heavy files of few pixels
        cv2.imwrite(str(folder / f"class-{i % 4}" / f"{i:03d}.png"), noise)
    return folder


Command = Callable[..., "subprocess.CompletedProcess[str]"]


def arguments(*words: object) -> list[str]:
    """The command line of `pseudolabel words...`, with the tests' own deadly task known to it."""
    support = str(Path(__file__).parent)
    code = f"import sys; sys.path.insert(0, {support!r}); import deadly; from pseudolabel.cli.app import main; main()"
    return [sys.executable, "-c", code, *map(str, words)]


class Made(dict[str, Path]):
    """Each task's dataset of the fixtures, with a validation split and two copies, made when it is first asked for."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self.factory = factory

    def __missing__(self, name: str) -> Path:
        task = TASKS[name]()
        self[name] = once(self.factory, name, lambda out: make_dataset(task, source(task), out))
        return self[name]


def source(task: Task) -> Path:
    """The fixtures of the task's modality."""
    return source_of(task, FIXTURES)


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file with its size and time of change."""
    found = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "lock")
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def records(out: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in sorted((out / "_records").glob("[0-9]*.json"))]


def skipped(out: Path) -> dict[str, str]:
    """key -> reason"""
    lines = (out / "_skipped.jsonl").read_text().splitlines()
    return {item["key"]: item["reason"] for item in map(json.loads, lines)}


def peak(pid: int) -> int:
    """The most memory a process has held, in MB."""
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(found[1]) >> 10 if found else 0
