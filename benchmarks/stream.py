"""Rows for training that are not stored: `pseudolabel.torch.Rows` compared with the loaders of other packages.

Each figure is one epoch as it arrives in the training process, with two workers, from the first to the last batch; the
sides take turns. `memory` is that of the process and its workers over ten epochs, `start` the time to the first batch
of an epoch of 100,000 files.

usage: stream.py [--peers PYTHON] [--work DIR] [--data DIR] [--rounds N] [--only MEASUREMENT]
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from inputs import DATA, WORK, Input, folder_of, tokenizer_of

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "stream.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
WORKERS, EPOCHS, FILES = 2, 10, 100_000


class Comparison(NamedTuple):
    """Rows of ours, and the loaders of other packages that make similar rows from the same input."""

    source: Input
    meaning: str
    batch: int  # rows
    prefetch: int  # batches of each worker; a worker makes the rows of a megabyte of text at once
    peers: tuple[str, ...]


ROWS = {
    "pairs": Comparison(Input("photographs", 1000), "SimCLR pairs of 224 pixels", 128, 2, ("lightly", "torchvision")),
    "tokens": Comparison(
        Input("novels", 77),
        "masked rows of 128 tokens, from raw text",
        256,
        16,
        ("datasets", "datasets-one", "tokenized"),
    ),
}
PEERS = {
    "lightly": "lightly's `SimCLRTransform`",
    "torchvision": "torchvision `transforms.v2` on tensors",
    "datasets": "tokenizing in `datasets` by two processes, with the collator",
    "datasets-one": "tokenizing in `datasets` by one process (the default), with the collator",
    "tokenized": "the collator alone, from tokenized text",
}


# --- our side: each runs in a process of its own ---------------------------------------------------------------------


def plan(name: str, source: Path, folder: str) -> None:
    import pseudolabel

    options = {"tokenizer": str(tokenizer_of(source))} if name == "tokens" else {"negatives": 0}
    task = (pseudolabel.MaskText if name == "tokens" else pseudolabel.AugmentPairs)(**options)
    pseudolabel.plan_parts(task, source, out=folder)


def rows_of(name: str, folder: str) -> Any:
    import pseudolabel
    from pseudolabel.torch import Rows

    return Rows(pseudolabel.open(folder), batch=ROWS[name].batch)


def loader_of(name: str, rows: Any) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(rows, batch_size=None, num_workers=WORKERS, prefetch_factor=ROWS[name].prefetch)


def epoch(name: str, source: Path) -> dict[str, Any]:
    """Measure an epoch, imports not included. For text, planning counts, as tokenizing does for the peers."""
    with tempfile.TemporaryDirectory() as folder:
        begun, before = time.monotonic(), os.times()
        plan(name, source, folder)
        if name != "tokens":
            begun, before = time.monotonic(), os.times()
        count = sum(len(batch["place"]) for batch in loader_of(name, rows_of(name, folder)))
        return {"rows": count, "seconds": time.monotonic() - begun, "cpu": sum(os.times()[:4]) - sum(before[:4])}


def memory(name: str, source: Path) -> dict[str, Any]:
    """MB that the process and its workers have, at most, in each epoch; and the same without the batches on their way,
    which are in shared memory."""

    def kilobytes(pid: int) -> tuple[int, int]:
        """Return the proportional share of a process in all memory, and in memory that is not shared memory."""
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # a worker that has just ended
            return 0, 0
        found = {name: int(size) for name, size in re.findall(r"^(Pss\w*):\s+(\d+)", rollup, re.M)}
        return found.get("Pss", 0), found.get("Pss", 0) - found.get("Pss_Shmem", 0)

    with tempfile.TemporaryDirectory() as folder:
        plan(name, source, folder)
        rows, every, alone = rows_of(name, folder), list[int](), list[int]()
        for number in range(EPOCHS):
            rows.set_epoch(number)
            seen = [(0, 0)]
            for batch in loader_of(name, rows):
                rows.state_dict(after=batch)
                children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                seen.append(tuple(map(sum, zip(*map(kilobytes, [os.getpid(), *map(int, children)]), strict=True))))
            for most, values in zip((every, alone), zip(*seen, strict=True), strict=True):
                most.append(max(values) >> 10)
        return {"MB of each epoch": every, "without batches": alone}


def start(name: str, source: Path) -> dict[str, Any]:
    """Seconds to open 100,000 files, and to the first batch of the first three epochs."""
    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        (many := Path(folder, "many")).mkdir()
        for number in range(FILES):
            os.link(files[number % len(files)], many / f"{number:06d}.jpg")
        plan(name, many, f"{folder}/plan")
        begun, seconds = time.monotonic(), []
        rows = rows_of(name, f"{folder}/plan")
        opening = time.monotonic() - begun
        for number in range(3):
            rows.set_epoch(number)
            begun = time.monotonic()
            batches = iter(loader_of(name, rows))
            next(batches)
            seconds.append(round(time.monotonic() - begun, 2))
            del batches  # it waits for its workers
    return {"open": round(opening, 2), "first batch": seconds}


SIDES: dict[str, Callable[[str, Path], dict[str, Any]]] = {"epoch": epoch, "memory": memory, "start": start}

# --- the comparison --------------------------------------------------------------------------------------------------


def run(command: list[str]) -> dict[str, Any]:
    """Run a side. Return what it prints."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=1800)
    if ended.returncode:
        return {"failure": ended.stderr[-400:]}
    return dict(json.loads(ended.stdout.splitlines()[-1]))


def table(results: dict[str, dict[str, list[dict[str, Any]]]], loads: list[float]) -> str:
    """Return the medians of the runs of each side as Markdown."""
    head = "| rows | loader | rows per second | CPU-s per 1,000 rows | `Rows` is |"
    lines = [head, "| --- | --- | --- | --- | --- |"]
    for name, sides in results.items():
        rates = {side: median(run["rows"] / run["seconds"] for run in runs) for side, runs in sides.items()}
        cpu = {side: median(1000 * run["cpu"] / run["rows"] for run in runs) for side, runs in sides.items()}
        for side in sides:
            faster, less = rates["ours"] / rates[side], cpu[side] / cpu["ours"]
            times = "" if side == "ours" else f"{faster:.1f} times as fast, {less:.1f} by CPU"
            loader = PEERS.get(side, "`pseudolabel.torch.Rows`")
            lines.append(f"| {ROWS[name].meaning} | {loader} | {rates[side]:,.0f} | {cpu[side]:.2f} | {times} |")
    many = extremes(len(runs) for sides in results.values() for runs in sides.values())
    load = extremes(map(round, loads))
    return "\n".join([*lines, "", f"Medians of {many} runs of each loader; load of the machine meanwhile: {load}."])


def extremes(numbers: Iterable[int]) -> str:
    """`3`, or `2 to 3`"""
    every = sorted(numbers)
    return " to ".join(map(str, dict.fromkeys((every[0], every[-1]))))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="interpreter with the peers' packages"
    )
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the inputs [%(default)s]")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real files [%(default)s]")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each side [%(default)s]")
    parser.add_argument("--only", choices=(*ROWS, "memory", "start"), help="one of the measurements")
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.side:
        from pseudolabel import AugmentPairs, MaskText, open, plan_parts  # noqa: F401 - imports are not measured
        from pseudolabel.torch import Rows  # noqa: F401

        which, name, source = chosen.side
        print(json.dumps(SIDES[which](name, Path(source))))
        return
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    loads = [os.getloadavg()[1]]
    for name, compared in ROWS.items():
        source = folder_of(compared.source, chosen.work, chosen.data)
        more = [str(tokenizer_of(source))] if name == "tokens" else []
        sides = {"ours": [sys.executable, __file__, "--side", "epoch", name, str(source)]}
        numbers = [str(number) for number in (WORKERS, compared.batch, compared.prefetch)]
        for peer in compared.peers:
            sides[peer] = [chosen.peers, str(HERE / "peers" / "loaders.py"), peer, str(source), *numbers, *more]
        for _ in range(chosen.rounds if chosen.only in (None, name) else 0):
            for side, command in sides.items():
                made = run(command)
                print(name, side, made, flush=True)
                if "failure" not in made:
                    results.setdefault(name, {}).setdefault(side, []).append(made)
                loads.append(os.getloadavg()[1])
        for which in ("memory", "start"):
            if chosen.only in (None, which) and (name == "pairs" or which == "memory"):
                print(name, which, run([sys.executable, __file__, "--side", which, name, str(source)]), flush=True)
    if results:
        print(text := table(results, loads))
    if results and chosen.only is None:
        page = DOCS.read_text("utf-8")
        DOCS.write_text(f"{page.partition(BEGIN)[0]}{BEGIN}\n{text}\n{END}{page.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
