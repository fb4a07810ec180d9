"""Every engine through every fault: the same bytes, or an exit code that says why and a rerun that ends in them.

    python tests/slow/matrix.py                                           all of it, on 22 MB of pictures made for it
    python tests/slow/matrix.py --source DIR --task mask-text --limit 99  on a source of yours; options of a run follow
    python tests/slow/matrix.py --engine ray --fault node                 of an engine, of a fault, or of both alone
    python tests/slow/matrix.py --diagonal                                each engine and each fault about once

A cell starts the command, waits for the first shard, does the harm, and waits for the end: 60 s at most, then nothing
of it may be left running. Where the exit code is not 0 it has to be the one that stands in the README, and the same
command is run again. Then every file under `data/` must be the one an undisturbed run makes. Exit code 1: some cell is
not as it should be. Linux alone: what belongs to a run is found in /proc, and full disks are small ones, mounted where
nobody else sees them.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # as a program, not by pytest

from runs import draw

from pseudolabel.testing.checks import checksums

ENGINES = ("1 worker", "2 workers", "4 workers", "ray", "parts")
FAULTS = {  # -> the exit code of what was struck
    "clean": 0,
    "worker": 0,  # SIGKILL of a worker process; of Ray's own, where there is one
    "node": 0,  # SIGKILL of all processes of the second Ray node
    "command": -signal.SIGKILL,  # of the process that was started, alone
    "everything": -signal.SIGKILL,  # of all processes, on all nodes
    "disk": 74,
    "SIGTERM": 128 + signal.SIGTERM,
    "Ctrl-C": 128 + signal.SIGINT,
}
DIAGONAL = (
    ("1 worker", "Ctrl-C"),
    ("2 workers", "worker"),
    ("4 workers", "disk"),
    ("parts", "everything"),
    ("1 worker", "command"),
    ("2 workers", "SIGTERM"),
    ("4 workers", "clean"),
    ("ray", "node"),
)
LONGEST = 60  # seconds from the harm to the end
MARK = "PSEUDOLABEL_MATRIX"  # in the environment of all that belongs together
MOUNTS = "PSEUDOLABEL_MOUNTS"  # "own" where this process may mount


class Fault(Exception):
    """The cell is not as it should be."""


class LeftOut(Exception):
    """The cell cannot be tried here; the message says why."""


class Outcome(NamedTuple):
    code: int
    seconds: float  # from the harm until nothing was left


# --- processes -------------------------------------------------------------------------------------------------------


def marked(mark: str) -> dict[int, str]:
    """The processes of this mark: pid -> command line."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}\0".encode() in (folder / "environ").read_bytes():
                found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:  # it ended, or is another's
            continue
    return {pid: line for pid, line in found.items() if line}  # no line: ended, and not yet waited for


def below(pid: int) -> list[int]:
    """A process and all that it started."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return [pid, *(p for child in children.read_text().split() for p in below(int(child)))]


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def wait_for(true: Callable[[], Any], what: str) -> None:
    end = time.monotonic() + LONGEST
    while not true():
        if time.monotonic() > end:
            raise Fault(f"{what} within {LONGEST} s")
        time.sleep(0.005)


class Nodes:
    """Two Ray nodes of one CPU each on this machine; begun when first asked for, and anew when one was lost."""

    def __init__(self) -> None:
        self.mark = uuid.uuid4().hex
        self._process: subprocess.Popen[str] | None = None
        self._told: dict[str, Any] | None = None

    def begin(self) -> None:
        """Have them start, without waiting for it."""
        if self._process is None:
            if importlib.util.find_spec("ray") is None:
                raise LeftOut("Ray is not installed")
            command = [sys.executable, str(Path(__file__).parents[1] / "support" / "nodes.py")]
            pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
            environment = {**os.environ, MARK: self.mark, "PYTHONPATH": str(Path(__file__).parents[1] / "support")}
            self._process = subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)

    def _begun(self) -> dict[str, Any]:
        self.begin()
        if self._told is None:
            self._told = json.loads(self._process.stdout.readline())  # type: ignore[union-attr]
        return self._told

    @property
    def address(self) -> str:
        return self._begun()["address"]

    def lose(self) -> None:
        """The second node, at once."""
        kill(below(self._begun()["raylets"][1]))

    def end(self) -> None:
        if self._process is not None:
            self._process.communicate()
            kill(marked(self.mark))
        self._process = self._told = None


# --- the cells -------------------------------------------------------------------------------------------------------

Run = subprocess.Popen[str]


class Matrix:
    """Runs of `pseudolabel TASK SOURCE OPTIONS...`, one after the other into the same folder."""

    def __init__(self, words: Sequence[str], folder: Path, nodes: Nodes) -> None:
        self._words, self._disk, self._nodes = words, folder / "disk", nodes
        self._out, self._mark = self._disk / "out", ""
        self._expected: dict[str, str] | None = None
        self.run("1 worker", "clean")
        self._expected = checksums(self._out)
        self._bytes = sum(path.stat().st_size for path in (self._out / "data").iterdir())

    def run(self, engine: str, fault: str) -> Outcome:
        """One cell, from an empty folder to the same bytes."""
        if fault == "node" and engine != "ray":
            raise LeftOut("no nodes to lose")
        if fault == "disk" and os.environ[MOUNTS] != "own":
            raise LeftOut(os.environ[MOUNTS])
        if engine == "ray":
            self._nodes.begin()
        self._mark = uuid.uuid4().hex
        shutil.rmtree(self._disk, ignore_errors=True)
        self._disk.mkdir()
        if fault == "disk":
            self._mount("size", self._bytes // 2)
        try:
            outcome = self._attempt(engine, fault)
            if fault == "disk":
                self._mount("remount,size", self._bytes * 20)
            if outcome.code:
                self._finish(engine)
            if self._expected is not None and checksums(self._out) != self._expected:
                raise Fault("other bytes")
            return outcome
        finally:
            kill(marked(self._mark))
            if fault == "node":
                self._nodes.end()
            if fault == "disk":
                subprocess.run(["umount", "-l", self._disk], check=True)

    def _mount(self, option: str, size: int) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"{option}={size}", "none", self._disk], check=True)

    def _stages(self, engine: str) -> list[list[list[str]]]:
        """The commands, some side by side; what makes the shards is the longest stage."""
        made = [*self._words, "--out", str(self._out), "--quiet"]
        if engine == "parts":
            parts = [[*made, "--workers", "1", "--part", f"{i}/3"] for i in (1, 2, 3)]
            return [[["plan", *made]], parts, [["finish", str(self._out)]]]
        return [[[*made, *(["--engine", "ray"] if engine == "ray" else ["--workers", engine[0]])]]]

    def _start(self, words: list[str], engine: str) -> Run:
        environment = {**os.environ, MARK: self._mark}
        if engine == "ray":
            environment["RAY_ADDRESS"] = self._nodes.address
        command = [sys.executable, "-m", "pseudolabel", *words]
        pipes: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, text=True, start_new_session=True, **pipes)

    def _attempt(self, engine: str, fault: str) -> Outcome:
        """The first attempt, with the fault in it: how it ended, and how long that took."""
        stages = self._stages(engine)
        for commands in stages:
            makes = commands is max(stages, key=len)
            since, runs = time.monotonic(), [self._start(words, engine) for words in commands]
            if makes and fault not in ("clean", "disk"):
                self._strike(engine, fault, runs)
                since = time.monotonic()
            code = self._ended(runs, {0, FAULTS[fault]} if makes or fault == "disk" else {0})
            if makes or code:
                wait_for(lambda: not self._left(engine), "something is left running")
                outcome = Outcome(code, time.monotonic() - since)
            if code:
                break
        if outcome.code != FAULTS[fault]:
            raise Fault(f"exit code {outcome.code} instead of {FAULTS[fault]}")
        return outcome

    def _finish(self, engine: str) -> None:
        """The same commands again."""
        for commands in self._stages(engine):
            self._ended([self._start(words, engine) for words in commands], {0})

    def _strike(self, engine: str, fault: str, runs: list[Run]) -> None:
        """Do the harm, to the first of the runs, when the first shard is there."""
        shards = self._out / "data"
        wait_for(lambda: any(shards.glob("*.parquet")) or runs[0].poll() is not None, "no shard is made")
        if runs[0].poll() is not None:
            raise Fault(f"ended before the harm: {runs[0].communicate()[1]}")
        match fault:
            case "worker":
                kill(self._workers(engine, runs[0])[-1:])
            case "node":
                self._nodes.lose()
            case "command":
                runs[0].kill()
            case "everything":
                kill([*marked(self._mark), *(marked(self._nodes.mark) if engine == "ray" else [])])
                if engine == "ray":
                    self._nodes.end()
            case "SIGTERM":
                runs[0].terminate()
            case "Ctrl-C":
                os.killpg(runs[0].pid, signal.SIGINT)

    def _workers(self, engine: str, run: Run) -> list[int]:
        if engine == "ray":
            return [pid for pid, line in marked(self._nodes.mark).items() if line.startswith("ray::serve")]
        lines = marked(self._mark)
        return [pid for pid in below(run.pid) if "forkserver" in lines.get(pid, "")]

    def _left(self, engine: str) -> list[int]:
        """What belongs to the runs: all of their own, and on Ray's nodes the workers."""
        nodes = marked(self._nodes.mark) if engine == "ray" else {}
        return [*marked(self._mark), *(pid for pid, line in nodes.items() if "forkserver" in line)]

    def _ended(self, runs: list[Run], codes: set[int]) -> int:
        """The first exit code that is not 0, if any; each must be one of `codes`."""
        end, ended = time.monotonic() + LONGEST, []
        for run in runs:
            try:
                said = run.communicate(timeout=max(0.1, end - time.monotonic()))[1]
            except subprocess.TimeoutExpired:
                raise Fault(f"does not end within {LONGEST} s") from None
            if run.returncode not in codes:
                raise Fault(f"exit code {run.returncode}: {said.strip()}")
            ended.append(run.returncode)
        return next((code for code in ended if code), 0)


# --- the command -----------------------------------------------------------------------------------------------------


def mount_here() -> None:
    """Go on where a small disk may be mounted and nobody else sees it, if the system lets us."""
    if MOUNTS in os.environ:
        return
    os.environ[MOUNTS] = "no unshare on this system"
    for flags in ("-m", "-rm") if shutil.which("unshare") else ():
        tried = ["unshare", flags, "mount", "-t", "tmpfs", "none", tempfile.gettempdir()]
        refused = subprocess.run(tried, capture_output=True, text=True).stderr.strip()
        if not refused:
            os.environ[MOUNTS] = "own"
            os.execvp("unshare", ["unshare", flags, sys.executable, *sys.argv])
        os.environ[MOUNTS] = refused


def main() -> int:
    told, _, _ = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(description=told, epilog="Other options go to the task's command.")
    parser.add_argument("--engine", choices=ENGINES, action="append", help="only this one; may be given again")
    parser.add_argument("--fault", choices=FAULTS, action="append", help="only this one; may be given again")
    parser.add_argument("--diagonal", action="store_true", help="each engine and each fault about once")
    parser.add_argument("--task", default="jigsaw")
    parser.add_argument("--source", type=Path)
    given, options = parser.parse_known_args()
    cells = [(engine, fault) for engine in given.engine or ENGINES for fault in given.fault or FAULTS]
    mount_here()
    nodes, amiss = Nodes(), 0
    with tempfile.TemporaryDirectory() as folder:
        source = given.source.absolute() if given.source else draw(Path(folder) / "pictures")
        try:
            if not given.engine:  # while others are at work: it takes its time
                nodes.begin()
            matrix = Matrix([given.task, str(source), "--shard-size", "1", *options], Path(folder), nodes)
            for engine, fault in DIAGONAL if given.diagonal else cells:
                try:
                    outcome = matrix.run(engine, fault)
                    told = f"exit {outcome.code:4}   {outcome.seconds:5.1f} s   ok"
                except LeftOut as reason:
                    told = f"left out: {reason}"
                except Fault as fault_found:
                    told, amiss = f"NOT SO: {fault_found}", amiss + 1
                print(f"{engine:10} {fault:11} {told}", flush=True)
        finally:
            nodes.end()
    return int(amiss > 0)


if __name__ == "__main__":
    sys.exit(main())
