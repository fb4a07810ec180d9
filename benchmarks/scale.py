"""How time and memory grow with the source: `python benchmarks/scale.py [--sizes 1 2 4 8 50]`

The sources are so many GB of hard links to the photographs and the novels of the benchmarks: they take no disk, and are
read and planned as other files are. For each: `--dry-run`; `plan`; and the shards: all of them up to `--whole` GB, of a
larger source one part of the plan, of about as many shards as there are workers. Prints a table in Markdown: seconds of
the CPU, by all processes of a command, and the most memory that the parent and a worker held. It takes some 450 CPU-s
for `jigsaw` and 1,300 for `mask-text`, and 10 GB of disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

from inputs import DATA, WORK, Input, folder_of, tokenizer_of
from measure import Seconds, adopt_orphans, descendants, peak_memory, timed

EACH = 1000  # files of a folder
SOURCES = {"jigsaw": Input("photographs", 8000), "mask-text": Input("novels", 309)}
HEADER = (
    "| task | source | files | shards | dry run: CPU-s | parent | plan: CPU-s | parent | made | CPU-s | per GB "
    "| parent | worker |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


class Peaks:
    """The most memory of the command and of any of its workers, in MB."""

    def __init__(self) -> None:
        self.parent = self.worker = 0.0

    def watch(self, pid: int) -> None:
        self.parent = max(self.parent, peak_memory(pid))
        self.worker = max([self.worker, *map(peak_memory, descendants(pid))])


class Step(NamedTuple):
    """One command, measured."""

    seconds: Seconds
    peaks: Peaks
    said: str  # on stdout


def link(originals: Path, megabytes: float, folder: Path) -> int:
    """Fill a folder with hard links to files, of so many megabytes. Returns their number."""
    files = [(path, path.stat().st_size) for path in sorted(originals.rglob("*")) if path.is_file()]
    size, count = 0.0, 0
    while size < megabytes * 1e6:
        path, weight = files[count % len(files)]
        if count % EACH == 0:
            (folder / f"{count // EACH:05d}").mkdir(parents=True)
        os.link(path, folder / f"{count // EACH:05d}" / f"{count:08d}{path.suffix}")
        size, count = size + weight, count + 1
    return count


def step(words: list[str], work: Path, patience: float) -> Step:
    """Run `pseudolabel` with these words. Raises Failure."""
    peaks = Peaks()
    seconds = timed([sys.executable, "-m", "pseudolabel", *words, "--json", "--quiet"], work, patience, peaks.watch)
    return Step(seconds, peaks, (work / "said.txt").read_text())


def measure(task: str, gigabytes: float, chosen: argparse.Namespace) -> str:
    """All that is measured of one task and one size, as a line below HEADER: in seconds and MB."""
    scratch = chosen.work / "scale"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    originals, source = folder_of(SOURCES[task], chosen.work, chosen.data), scratch / "source"
    files = link(originals, 1000 * gigabytes, source)
    options = ["--tokenizer", str(tokenizer_of(originals))] if task == "mask-text" else []
    words = [task, str(source), "--out", str(scratch / "out"), *options]
    dry = step([*words, "--dry-run"], scratch, chosen.patience)
    plan = step(["plan", *words], scratch, chosen.patience)
    shards = json.loads(dry.said)["shards"]
    parts = 1 if gigabytes <= chosen.whole else max(1, shards // chosen.workers)
    part = step([*words, "--workers", str(chosen.workers), "--part", f"1/{parts}"], scratch, chosen.patience)
    records = [json.loads(path.read_text()) for path in (scratch / "out" / "_records").glob("[0-9]*[0-9].json")]
    made = sum(record["weight"] for record in records) / 1e9
    shutil.rmtree(scratch)
    return (
        f"{files:,} | {shards} | {said(dry)} | {said(plan)} | {made:.2f} GB | {part.seconds.cpu:.1f} | "
        f"{part.seconds.cpu / made:.1f} | {part.peaks.parent:.0f} MB | {part.peaks.worker:.0f} MB"
    )


def said(step: Step) -> str:
    """`15.3 | 178 MB`"""
    return f"{step.seconds.cpu:.1f} | {step.peaks.parent:.0f} MB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="*", default=[*SOURCES], help="of jigsaw and mask-text [both]")
    parser.add_argument("--sizes", type=float, nargs="+", default=[1, 2, 4, 8, 50], metavar="GB")
    parser.add_argument(
        "--whole", type=float, default=8, help="largest source of which all is made [%(default)s]", metavar="GB"
    )
    parser.add_argument("--workers", type=int, default=2, help="that make shards [%(default)s]")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real files [%(default)s]")
    parser.add_argument(
        "--work", type=Path, default=WORK, help="folder of the inputs, on one file system [%(default)s]"
    )
    parser.add_argument("--patience", type=float, default=1800, help="seconds for a command [%(default)s]")
    chosen = parser.parse_args()
    adopt_orphans()
    print(HEADER, flush=True)
    for task in chosen.tasks:
        for gigabytes in chosen.sizes:
            print(f"| `{task}` | {gigabytes:g} GB | {measure(task, gigabytes, chosen)} |", flush=True)


if __name__ == "__main__":
    main()
