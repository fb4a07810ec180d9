"""Damaged files by the thousand, through the real command: none may crash it, hang it, fill memory, or vanish.

`python tests/slow/fuzz.py --count 5000 --seed 0` prints a table by format and ends with 1 where anything is amiss; the
files to blame are kept in `--keep`. The same count and seed make the same files on any machine that has the same real
ones.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # as a program, not by pytest

from mutants import Seeds, mutant, seeds, unpacked
from processes import children
from runs import arguments, peak

from pseudolabel.contracts import file_of

TASKS = {  # that leave nothing out which can be read
    "pictures": ("jigsaw",),
    "sounds": ("mask-audio", "--clusters", 8, "--seconds", 2, "--min-seconds", 0),
    "films": ("shuffle-frames", "--gap", 1, "--min-motion", 0, "--max-cut", 1),
    "texts": ("mask-text", "--length", 4),  # rows of two tokens: every file begins one
    "archives": ("jigsaw",),
}
SOUND = {
    "pictures": ".png",
    "sounds": ".wav",
    "films": ".mp4",
    "texts": ".txt",
    "archives": ".zip",
}  # of a file that is sound, in each run
BATCH = 250  # files of one run
SECONDS = 10  # for one sample; more is a breach
PATIENCE = 300  # seconds for one run
WORKER, PARENT = 600, 300  # MB, as the README and DESIGN bound them


class Breach(NamedTuple):
    """What must not be, and the files it was seen with."""

    what: str
    files: Sequence[Path]


@dataclass
class Tally:
    """What became of the files of one format."""

    mutants: int = 0
    used: int = 0
    skipped: int = 0
    hollow: int = 0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass
class Outcome:
    """Of many runs."""

    tallies: dict[str, Tally] = field(default_factory=dict)
    breaches: list[Breach] = field(default_factory=list)
    worker: int = 0  # MB, the most that any held
    parent: int = 0


def fuzz(count: int, seed: int, folder: Path) -> Outcome:
    """Make `count` mutants below `folder`, as many of each format, and hold the command to them."""
    known = {kind: seeds(kind, folder) for kind in TASKS}
    formats = [(kind, suffix) for kind in TASKS for suffix in sorted(known[kind])]
    made: dict[str, list[Path]] = {kind: [] for kind in TASKS}
    for number in range(count):
        kind, suffix = formats[number % len(formats)]
        made[kind].append(mutated(known[kind], suffix, np.random.default_rng((seed, number)), folder / kind, number))
    outcome = Outcome()
    for kind, files in made.items():
        (folder / f"{kind}{SOUND[kind]}").write_bytes(known[kind][SOUND[kind]][0])
        for start in range(0, len(files), BATCH):
            hold(kind, files[start : start + BATCH], folder, outcome)
    return outcome


def mutated(known: Seeds, suffix: str, rng: np.random.Generator, folder: Path, number: int) -> Path:
    """Write one mutant; `other` lends its head where two are spliced."""
    other = known[str(rng.choice(sorted(known)))]
    given = [many[rng.integers(len(many))] for many in (known[suffix], other)]
    how, data = mutant(suffix, *given, rng)
    path = folder / f"{number:06d}-{how}{suffix}"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    return path


def hold(kind: str, files: Sequence[Path], folder: Path, outcome: Outcome) -> None:
    """Run the command over some files, and where that goes wrong as a whole, over each half, until it is clear why."""
    ran = run(kind, files, folder / "run")
    outcome.worker, outcome.parent = max(outcome.worker, ran.worker), max(outcome.parent, ran.parent)
    if ran.wrong and len(files) > 1:
        before = len(outcome.breaches)
        for half in (files[: len(files) // 2], files[len(files) // 2 :]):
            hold(kind, half, folder, outcome)
        if len(outcome.breaches) == before:
            outcome.breaches.append(Breach(f"{kind}, only together: {ran.wrong}", files))
        return
    if ran.wrong:
        outcome.breaches.append(Breach(ran.wrong, files))
        return
    outcome.breaches += [Breach(f"{path.name}: {what}", [path]) for path, what in ran.amiss(files)]
    for path in files:
        ran.count(path, outcome.tallies.setdefault(f"{kind} {suffix_of(path)}", Tally()))


# --- one run ---------------------------------------------------------------------------------------------------------


@dataclass
class Ran:
    """One run of the command, as it is seen from outside."""

    wrong: str  # what concerns the run as a whole
    worker: int  # MB
    parent: int
    used: set[str] = field(default_factory=set)  # the files that have rows
    left: dict[str, str] = field(default_factory=dict)  # file -> why some of it was left out
    exceptions: dict[str, str] = field(default_factory=dict)

    def amiss(self, files: Sequence[Path]) -> Iterator[tuple[Path, str]]:
        """The files that vanished, were left out for no reason, killed a worker, or took too long."""
        told = {mutant_of(key): reason for key, reason in self.exceptions.items()}
        for path in files:
            if path.name in told:
                yield path, told[path.name]
            elif not self.left.get(path.name, "?"):
                yield path, "skipped without a reason"
            elif path.name not in self.used and path.name not in self.left and not hollow(path):
                yield path, "in no row and not in _skipped.jsonl"

    def count(self, path: Path, tally: Tally) -> None:
        """Enter a file into the tally of its format."""
        tally.mutants += 1
        if path.name in self.used:
            tally.used += 1
        elif path.name in self.left:
            tally.skipped += 1
            tally.reasons[ascii(re.sub(r"\d[\d.]*", "N", self.left[path.name]))[1:-1]] += 1
        else:
            tally.hollow += 1


def run(kind: str, files: Sequence[Path], folder: Path) -> Ran:
    """The command over these files, in processes that are watched."""
    shutil.rmtree(folder, ignore_errors=True)
    source, out = folder / kind, folder / "out"
    source.mkdir(parents=True)
    sound = folder.parent / f"{kind}{SOUND[kind]}"
    for path in (sound, *files):
        os.link(path, source / path.name)
    task, *options = TASKS[kind]
    words = [task, source, *options, "--out", out, "--workers", 2, "--shard-size", 1, "--max-skipped", "1.0"]
    words += ["--sample-seconds", SECONDS, "--quiet", "--json"]
    with open(folder / "stdout", "w+") as said, open(folder / "stderr", "w+") as complained:
        process = subprocess.Popen(arguments(*words), stdout=said, stderr=complained, start_new_session=True)
        peaks = watched(process)
        said.seek(0), complained.seek(0)
        wrong = judged(process.returncode, said.read(), complained.read())
    parent = peaks.pop(process.pid, 0)
    ran = Ran(wrong, max(peaks.values(), default=0), parent)
    if ran.worker > WORKER or ran.parent > PARENT:
        ran.wrong = ran.wrong or f"{ran.worker} MB in a worker, {ran.parent} MB in the parent"
    if not ran.wrong:
        manifest = json.loads((out / "_manifest.json").read_text("utf-8"))
        summary = manifest["summary"]
        ran.exceptions = manifest["exceptions"]["reading"] | manifest["exceptions"]["labelling"]
        for path in (out / "data").iterdir():
            ran.used |= set(map(mutant_of, pq.read_table(path, columns=["key"])["key"].unique().to_pylist()))
        left = map(json.loads, (out / "_skipped.jsonl").read_text("utf-8").splitlines())
        ran.left = {mutant_of(line["key"]): line["reason"] for line in left}
        if summary["seen"] != summary["used"] + summary["skipped"] + summary["filtered"]:
            ran.wrong = f"seen is not used + skipped + filtered: {summary}"
        elif sound.name not in ran.used:
            ran.wrong = f"a sound file has no row among these: {ran.left.get(sound.name)}"
    return ran


def watched(process: subprocess.Popen[Any], patience: float = PATIENCE) -> dict[int, int]:
    """The most memory that each process of the run has held, in MB; a run that does not end is ended."""
    peaks: dict[int, int] = {}
    end = time.monotonic() + patience
    while process.poll() is None:
        for pid in (process.pid, *children(process.pid)):
            peaks[pid] = max(peaks.get(pid, 0), peak(pid))
        if time.monotonic() > end:
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.02)
    return peaks


def judged(code: int, said: str, complained: str) -> str:
    """What is wrong with how a run ended and with what it wrote on the terminal: "" if nothing is."""
    if code == -signal.SIGKILL:
        return f"did not end within {PATIENCE} s"
    if code:
        return f"exit code {code}: {complained.strip()[-300:]}"
    if complained or len(said.splitlines()) != 1:
        return f"on the terminal: {(complained + said)[:300]}"
    return ""


def hollow(path: Path) -> bool:
    """Whether nothing is left in a file that has to be told of: next to no text, or no name of a picture."""
    suffix = suffix_of(path)
    try:
        data = unpacked(path.read_bytes(), suffix.rpartition(".")[2])
    except (OSError, EOFError):
        return False
    if path.parent.name == "archives":
        return not re.search(rb"\.(webp|avif)", data)
    lines = data.split(b"\n")
    return len(b"".join(lines[suffix.startswith((".csv", ".tsv")) :]).strip()) < 8


def mutant_of(key: str) -> str:
    """The file in the source's folder that a key lies in, be it an archive."""
    return file_of(key).partition("/")[0]


def suffix_of(path: Path) -> str:
    """`000017-flipped.txt.gz` -> `.txt.gz`"""
    return path.name[path.name.index(".") :]


# --- the command -----------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="mutants")
    parser.add_argument("--seed", type=int, default=0, help="of all chance")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-guilty"), help="where the files to blame are copied")
    chosen = parser.parse_args()
    begun = time.monotonic()
    with TemporaryDirectory() as folder:
        outcome = fuzz(chosen.count, chosen.seed, Path(folder))
        for breach in outcome.breaches:
            chosen.keep.mkdir(exist_ok=True)
            for path in breach.files:
                shutil.copy(path, chosen.keep)
    print(f"{'format':22}{'mutants':>8}{'used':>8}{'skipped':>8}{'hollow':>8}  commonest reasons")
    for name, tally in outcome.tallies.items():
        reasons = "; ".join(f"{count} x {reason[:70]}" for reason, count in tally.reasons.most_common(2))
        print(f"{name:22}{tally.mutants:8}{tally.used:8}{tally.skipped:8}{tally.hollow:8}  {reasons}")
    took = f"{chosen.count} mutants in {time.monotonic() - begun:.0f} s"
    print(f"{took}; at most {outcome.worker} MB in a worker, {outcome.parent} MB in the parent")
    for breach in outcome.breaches:
        print(f"BREACH {breach.what} ({len(breach.files)} in {chosen.keep})")
    return min(len(outcome.breaches), 1)


if __name__ == "__main__":
    sys.exit(main())
