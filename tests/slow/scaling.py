"""How much faster two workers are than one, for every task: `python tests/slow/scaling.py` on a machine that rests.

Each task makes the same dataset with one worker and with two, in turn. A worker's rate is that of its shards after the
first, from when that is stored to when its last one is, with all the waiting in between: what a process takes to start
and to load its libraries is told apart, with the plan, what is learned, and the end, as seconds of the whole command.
Ends with 1 where the rates of two workers together are below `LEAST` times that of one.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # as a program, not by pytest

import reels
from drawn import photograph
from runs import FIXTURES, arguments, real

from pseudolabel import TASKS
from pseudolabel.transforms.text.vocabulary import train_wordpiece

LEAST = 1.8
TRIED = 4  # MB of source, by which it is reckoned how much is needed
OPTIONS = {"cluster": ("--clusters", 8), "mask-audio": ("--clusters", 8)}


class Pace(NamedTuple):
    """One run."""

    whole: float  # seconds, of the command
    rate: float  # MB a second, of all workers


def source(kind: str, megabytes: float, folder: Path) -> Path:
    """So much of one modality: links to the fixtures, or to what is made here, under names of their own."""
    folder.mkdir()
    originals = sorted(made(kind, folder.parent / kind).iterdir())
    size = number = 0
    while size < megabytes * 2**20:
        path = originals[number % len(originals)]
        os.link(path, folder / f"{number:06d}{path.suffix}")
        size, number = size + path.stat().st_size, number + 1
    return folder


def made(kind: str, folder: Path) -> Path:
    """The files of a modality that are linked to; made when they are first asked for."""
    if folder.exists():
        return folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    if kind == "text":
        tales = "\n\n".join(path.read_text("utf-8") for path in sorted((FIXTURES / "text").glob("tales-*.txt")))
        for number in range(8):
            paragraphs = rng.choice(tales.split("\n\n"), 4000)
            (folder / f"{number}.txt").write_text("\n\n".join(paragraphs)[: 1 << 20], "utf-8")
    elif kind == "video":
        for number in range(6):
            view = photograph(360, 640, seed=number)
            frames = [view[i % 100 : i % 100 + 240, 2 * i % 300 : 2 * i % 300 + 320] for i in range(100)]
            reels.write(folder / f"{number}.mp4", frames)
    else:
        for path in sorted((FIXTURES / kind).rglob("*.*")):
            if path.stem != "broken":
                os.link(path, folder / f"{path.parent.name}-{path.name}")
    return folder


def kind_of(task: str) -> str:
    """`jigsaw` -> `images`"""
    kinds = {".jpg": "images", ".txt": "text", ".wav": "audio", ".mp4": "video"}
    return next(kind for suffix, kind in kinds.items() if suffix in TASKS[task]().reader().suffixes)


def pace(task: str, source: Path, workers: int) -> Pace:
    """Run the command once."""
    out, begun = source.parent / "out", time.monotonic()
    words = [task, source, *OPTIONS.get(task, ()), "--out", out, "--workers", workers, "--shard-size", 1]
    words += ["--tokenizer", tokenizer(source.parent)] if kind_of(task) == "text" else []
    subprocess.run(arguments(*words, "--overwrite", "--quiet"), check=True, stdout=subprocess.DEVNULL)
    whole = time.monotonic() - begun
    stored: dict[int, list[tuple[float, int]]] = {}  # of each worker: when, and how much
    for path in sorted((out / "_records").glob("[0-9]*.json"), key=lambda path: path.stat().st_mtime_ns):
        record = json.loads(path.read_text())
        stored.setdefault(record["process"], []).append((path.stat().st_mtime, record["weight"]))
    assert len(stored) == workers, "a worker had nothing to do; give more --seconds"
    return Pace(whole, sum(map(steadily, stored.values())) / 2**20)


def steadily(shards: list[tuple[float, int]]) -> float:
    """Bytes a second, of the shards of one worker after its first."""
    return sum(weight for _, weight in shards[1:]) / (shards[-1][0] - shards[0][0])


def tokenizer(folder: Path) -> Path:
    """Learned once: it is no part of what is measured."""
    path = folder / "tokenizer.json"
    if not path.exists():
        train_wordpiece((text.read_text("utf-8") for text in (folder / "text").iterdir()), 8000).save(str(path))
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=sorted(filter(real, TASKS)), help="all of them, if none is named")
    parser.add_argument("--times", type=int, default=3, help="runs with each number of workers; medians are told")
    parser.add_argument("--seconds", type=float, default=5, help="that one worker is to make shards for, about")
    chosen = parser.parse_args()
    print(f"{'task':18}{'MB':>6}{'one worker':>12}{'two workers':>12}{'ratio':>7}   whole command")
    slow = []
    with TemporaryDirectory() as folder:
        for task in chosen.tasks:
            few = source(kind_of(task), TRIED, Path(folder) / f"{task}-few")
            size = max(2 * TRIED, chosen.seconds * pace(task, few, 1).rate)
            there = source(kind_of(task), size, Path(folder) / task)
            paces = [(pace(task, there, 1), pace(task, there, 2)) for _ in range(chosen.times)]
            one, two = (Pace(*map(median, zip(*runs, strict=True))) for runs in zip(*paces, strict=True))
            ratio = two.rate / one.rate
            slow += [task] * (ratio < LEAST)
            print(f"{task:18}{size:6.0f}{one.rate:7.2f} MB/s{two.rate:7.2f} MB/s{ratio:7.2f}", end="   ")
            print(f"{one.whole:.1f} s, {two.whole:.1f} s, {one.whole / two.whole:.2f}", flush=True)
    print(f"below {LEAST}: {', '.join(slow) or 'none'}")
    return min(len(slow), 1)


if __name__ == "__main__":
    sys.exit(main())
