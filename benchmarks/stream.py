"""Rows for training that are not stored: `pseudolabel.torch.Rows` beside the loaders of other packages.

Each figure is one epoch as it arrives in the training process, with two workers, from the first to the last batch; the
sides take turns. `memory` is that of the process and its workers over ten epochs, `start` the time to the first batch
of an epoch of 100,000 files.

usage: stream.py [--peers PYTHON] [--work DIR] [--rounds N] [--only ROW]
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
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from inputs import DATA, WORK, Input, folder_of, tokenizer_of

HERE = Path(__file__).parent
DOCS = HERE.parent / "docs" / "stream.md"
BEGIN, END = "<!-- results -->", "<!-- end of results -->"
BATCH, WORKERS, EPOCHS, FILES = 128, 2, 10, 100_000
ROWS = {  # name -> input, option of our side, peers
    "pairs": (Input("photographs", 1000), "SimCLR pairs of 224 pixels", ("lightly", "torchvision")),
    "tokens": (Input("novels", 77), "masked rows of 128 tokens, from raw text", ("datasets", "tokenized")),
}
PEERS = {
    "lightly": "lightly's `SimCLRTransform`",
    "torchvision": "torchvision `transforms.v2` on tensors",
    "datasets": "tokenizing in `datasets`, with the collator",
    "tokenized": "the collator alone, from tokenized text",
}


# --- our side: each runs in a process of its own ---------------------------------------------------------------------


def opened(name: str, source: Path, folder: str) -> Any:
    """Plan a dataset and open it."""
    import pseudolabel

    options = {"tokenizer": str(tokenizer_of(source))} if name == "tokens" else {"negatives": 0}
    task = (pseudolabel.MaskText if name == "tokens" else pseudolabel.AugmentPairs)(**options)
    pseudolabel.plan_parts(task, source, out=f"{folder}/plan")
    return pseudolabel.open(f"{folder}/plan")


def loaded(rows: Any) -> Any:
    from torch.utils.data import DataLoader

    return DataLoader(rows, batch_size=None, num_workers=WORKERS)


def epoch(name: str, source: Path) -> dict[str, Any]:
    from pseudolabel.torch import Rows

    with tempfile.TemporaryDirectory() as folder:
        rows = Rows(opened(name, source, folder), batch=BATCH)
        begun, before = time.monotonic(), os.times()
        count = sum(len(batch["place"]) for batch in loaded(rows))
        return {"rows": count, "seconds": time.monotonic() - begun, "cpu": sum(os.times()[:4]) - sum(before[:4])}


def memory(name: str, source: Path) -> dict[str, Any]:
    """MB that the process and its workers hold alone or share, at the last batch of each epoch."""
    from pseudolabel.torch import Rows

    def held(pid: int) -> int:
        try:
            return int(re.findall(r"^Pss:\s+(\d+)", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)[0]) >> 10
        except (OSError, IndexError):  # a worker that has just ended
            return 0

    with tempfile.TemporaryDirectory() as folder:
        rows, seen = Rows(opened(name, source, folder), batch=BATCH), []
        for number in range(EPOCHS):
            rows.set_epoch(number)
            most = 0
            for batch in loaded(rows):
                rows.state_dict(after=batch)
                children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
                most = max(most, sum(map(held, [os.getpid(), *map(int, children)])))
            seen.append(most)
        return {"MB of each epoch": seen}


def start(name: str, source: Path) -> dict[str, Any]:
    """Seconds to open 100,000 files, and to the first batch of the first three epochs."""
    from pseudolabel.torch import Rows

    files = [path for path in sorted(source.rglob("*")) if path.is_file()]
    with tempfile.TemporaryDirectory(dir=source.parent) as folder:
        (many := Path(folder, "many")).mkdir()
        for number in range(FILES):
            os.link(files[number % len(files)], many / f"{number:06d}.jpg")
        opened(name, many, folder)
        begun, seconds = time.monotonic(), []
        import pseudolabel

        rows = Rows(pseudolabel.open(f"{folder}/plan"), batch=BATCH)
        opening = time.monotonic() - begun
        for number in range(3):
            rows.set_epoch(number)
            begun = time.monotonic()
            batches = iter(loaded(rows))
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


def table(results: dict[str, dict[str, list[dict[str, Any]]]], load: str) -> str:
    """Return the medians of the runs of each side as Markdown."""
    lines = ["| rows | loader | rows a second | CPU-s for 1,000 rows | Rows is |", "| --- | --- | --- | --- | --- |"]
    for name, sides in results.items():
        rates = {side: median(run["rows"] / run["seconds"] for run in runs) for side, runs in sides.items()}
        cpu = {side: median(1000 * run["cpu"] / run["rows"] for run in runs) for side, runs in sides.items()}
        for side in sides:
            faster, less = rates["ours"] / rates[side], cpu[side] / cpu["ours"]
            times = "" if side == "ours" else f"{faster:.1f} times as fast, {less:.1f} by CPU"
            loader = PEERS.get(side, "`pseudolabel.torch.Rows`")
            lines.append(f"| {ROWS[name][1]} | {loader} | {rates[side]:,.0f} | {cpu[side]:.2f} | {times} |")
    counts = sorted({len(runs) for sides in results.values() for runs in sides.values()})
    many = " to ".join(map(str, {counts[0]: 0, counts[-1]: 0}))
    return "\n".join([*lines, "", f"Medians of {many} runs of each loader; load of the machine meanwhile: {load}."])


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
        which, name, source = chosen.side
        print(json.dumps(SIDES[which](name, Path(source))))
        return
    results: dict[str, dict[str, list[dict[str, Any]]]] = {}
    loads = [os.getloadavg()[1]]
    for name, (wanted, _, peers) in ROWS.items():
        source = folder_of(wanted, chosen.work, chosen.data)
        more = [str(tokenizer_of(source))] if name == "tokens" else []
        sides = {"ours": [sys.executable, __file__, "--side", "epoch", name, str(source)]}
        for peer in peers:
            sides[peer] = [chosen.peers, str(HERE / "peers" / "loaders.py"), peer, str(source), str(WORKERS), *more]
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
        text = table(results, f"{min(loads):.0f} to {max(loads):.0f}")
        print(text)
    if results and chosen.only is None:
        page = DOCS.read_text("utf-8")
        DOCS.write_text(f"{page.partition(BEGIN)[0]}{BEGIN}\n{text}\n{END}{page.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
