"""How fast the tasks, their peers and floors are: `python benchmarks/run.py [--quick]`, on a machine that rests.

Makes its inputs (`inputs.py`), then runs each task and its peers in turn, three times, as whole processes, start-up
included, with two workers and with one. What is measured is written after each run: seconds of the wall, and of the CPU
by all processes of a command; medians are compared. In full it takes about an hour on two cores and 4 GB of disk;
`--quick` takes some five minutes, and says little: start-up is most of what it measures.

A peer does the same work by other libraries (`peers/`); the OpenCV loop is a floor: it decodes, resizes and encodes as
many pixels, and does nothing else. Peers need `pip install '.[benchmarks]'`, here or in the environment of `--peers`;
one that is not installed is left out. When all is measured in full, the table goes to docs/speed.md and the chart to
docs/speed.svg (`report.py` does so by itself).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any, NamedTuple

from inputs import DATA, WORK, Input, MissingData, folder_of, tokenizer_of
from jobs import Peer, Row, key_of, rows
from machine import facts, missing_packages
from measure import Failure, adopt_orphans, timed, warm
from report import publish, summary, table

HERE = Path(__file__).parent


class Competitor(NamedTuple):
    """A command that takes part."""

    name: str
    python: str
    job: Row | Peer
    source: Input
    workers: int

    @property
    def key(self) -> str:
        return key_of(self.name, self.job.options, self.source, self.workers)


class Benchmark:
    """The runs so far, and where they are written."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.chosen = chosen
        self.results: dict[str, Any] = {"machine": facts(chosen.peers), "quick": chosen.quick, "runs": {}}
        if chosen.only and chosen.out.exists():
            self.results["runs"] = json.loads(chosen.out.read_text())["runs"]
        self.measured: set[str] = set()  # by this command

    def competitors(self, row: Row, workers: int) -> list[Competitor]:
        """The task, the task as an earlier installation does it, and the peers that are installed."""
        found = [Competitor(row.task, sys.executable, row, row.source, workers)]
        if self.chosen.before:
            found.append(Competitor(f"{row.task} before", self.chosen.before, row, row.source, workers))
        for peer in row.peers:
            lacking = missing_packages(peer.packages, self.chosen.peers)
            if lacking:
                print(f"{peer.name} is left out: {', '.join(lacking)} not installed ('.[benchmarks]')", flush=True)
            else:
                found.append(
                    Competitor(f"{row.task} by {peer.name}", self.chosen.peers, peer, row.input_of(peer), workers)
                )
        return found

    def measure(self, row: Row) -> None:
        """Run all competitors of a row in turn, in every second round the other way round."""
        for workers in row.workers:
            waiting = [one for one in self.competitors(row, workers) if one.key not in self.measured]
            for one in waiting:
                self.results["runs"][one.key] = {"wall": [], "cpu": [], "failure": ""}
                warm(folder_of(one.source, self.chosen.work, self.chosen.data))
            for turn in range(self.chosen.times):
                for one in waiting[:: -1 if turn % 2 else 1]:
                    self.run(one)
            self.measured |= {one.key for one in waiting}

    def run(self, one: Competitor) -> None:
        """Run a command once, and write what it took."""
        work, runs = self.chosen.work, self.results["runs"][one.key]
        source, scratch = folder_of(one.source, work, self.chosen.data), work / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        command = [one.python, *one.job.command(source, scratch / "out", one.workers)]
        if "TOKENIZER" in command:
            command[command.index("TOKENIZER")] = str(tokenizer_of(source))
        try:
            seconds = timed(command, scratch, self.chosen.patience)
        except Failure as failure:
            runs["failure"] = str(failure)
            print(f"{one.key}: {failure}", flush=True)
        else:
            runs["wall"].append(round(seconds.wall, 3))
            runs["cpu"].append(round(seconds.cpu, 3))
            print(f"{one.key}: {seconds.wall:.2f} s, {seconds.cpu:.2f} CPU-s", flush=True)
        shutil.rmtree(scratch, ignore_errors=True)
        self.write()

    def write(self) -> None:
        """Write all results, or none: a reader never finds half a file."""
        self.results["rows"] = summary(rows(self.chosen.quick), self.results["runs"])
        partial = self.chosen.out.with_suffix(".partial")
        partial.write_text(json.dumps(self.results, indent=1) + "\n")
        partial.replace(self.chosen.out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small inputs; results go to the work folder")
    parser.add_argument(
        "--only",
        action="append",
        metavar="ROW",
        help="rows with this in their name, into a file of results that is there",
    )
    parser.add_argument("--times", type=int, default=3, help="runs of each command [%(default)s]")
    parser.add_argument("--data", type=Path, default=DATA, help="folder of real files [%(default)s]")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of the inputs [%(default)s]")
    parser.add_argument("--out", type=Path, help="file of the results [benchmarks/results.json]")
    parser.add_argument(
        "--peers", default=sys.executable, metavar="PYTHON", help="interpreter that has the peers' packages"
    )
    parser.add_argument(
        "--before", metavar="PYTHON", help="interpreter that has an earlier pseudolabel, which competes as well"
    )
    parser.add_argument("--patience", type=float, default=1800, help="seconds for a run [%(default)s]")
    parser.add_argument("--inputs", action="store_true", help="make the inputs, and end")
    parser.add_argument("--list", action="store_true", help="print the names of the rows")
    chosen = parser.parse_args()
    chosen.out = chosen.out or (chosen.work if chosen.quick else HERE) / "results.json"
    wanted = [row for row in rows(chosen.quick) if not chosen.only or any(part in row.name for part in chosen.only)]
    if chosen.list:
        print(*(row.name for row in rows(chosen.quick)), sep="\n")
        return
    if not wanted:
        parser.error(f"no row has {' or '.join(chosen.only)} in its name; --list prints them")
    for python in (chosen.peers, chosen.before):
        if python and not shutil.which(python):
            parser.error(f"{python} is no interpreter")
    chosen.work.mkdir(parents=True, exist_ok=True)
    if chosen.inputs:
        for row in wanted:
            for source in {row.source, *map(row.input_of, row.peers)}:
                folder_of(source, chosen.work, chosen.data)
        return
    adopt_orphans()
    benchmark = Benchmark(chosen)
    for row in wanted:
        try:
            benchmark.measure(row)
        except MissingData as missing:
            print(f"{row.name} is left out: {missing}", flush=True)
    if not benchmark.measured:
        parser.exit(5, "nothing was measured\n")
    print(table(benchmark.results["rows"]))
    if chosen.out == HERE / "results.json" and not chosen.only:
        publish(benchmark.results)
    if any(benchmark.results["runs"][key]["failure"] for key in benchmark.measured):
        sys.exit(1)


if __name__ == "__main__":
    main()
