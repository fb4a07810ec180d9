"""Whole processes, timed: wall and CPU seconds of a command with all that it starts, and the memory of each process."""

from __future__ import annotations

import ctypes
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from threading import Timer
from typing import NamedTuple

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)


class Failure(Exception):
    """A command that did not end well, or not in time; with its last words."""


class Seconds(NamedTuple):
    """What one run took."""

    wall: float
    cpu: float  # user and system, of all its processes


def adopt_orphans() -> None:
    """Become the parent of what a command leaves behind (Linux), to count and to end it; also by SIGTERM."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def timed(command: list[str], folder: Path, patience: float, watch: Callable[[int], None] | None = None) -> Seconds:
    """Run a command in a folder. `watch` is called with its pid, again and again. Raises Failure."""
    os.sync()  # what the run before it wrote is no part of this one
    environment = dict(os.environ)
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package does not compile at every start
    said, before, begun = folder / "said.txt", cpu_of_children(), time.monotonic()
    with said.open("w") as file:
        process = subprocess.Popen(
            command, cwd=folder, stdout=file, stderr=file, env=environment, start_new_session=True
        )
    alarm = Timer(patience, os.killpg, (process.pid, signal.SIGKILL))
    alarm.start()
    try:
        while watch and process.poll() is None:
            watch(process.pid)
            time.sleep(0.05)
        code = process.wait()  # without a time limit: with one, Python looks every 50 ms
    finally:  # also where Ctrl-C ends this
        wall = time.monotonic() - begun
        alarm.cancel()
        end_session(process)
    if code != 0:
        reason = f"exit code {code}" if wall < patience else f"did not end within {patience:g} s"
        raise Failure(f"{reason}: {' / '.join(said.read_text(errors='replace').splitlines()[-3:])}")
    return Seconds(wall, cpu_of_children() - before)


def cpu_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def end_session(process: subprocess.Popen[bytes]) -> None:
    """Wait a little for what a command has left behind, then end it."""
    end = time.monotonic() + (5 if process.poll() == 0 else 0)
    while time.monotonic() < end and children(os.getpid()) - {process.pid}:
        reap()
        time.sleep(0.02)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    for pid in children(os.getpid()):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(pid, 0)


def reap() -> None:
    """Take leave of children that have ended."""
    for pid in children(os.getpid()):
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def children(pid: int) -> set[int]:
    """The processes that a process has started and that are still there (Linux)."""
    with suppress(OSError):
        return {
            int(child)
            for task in Path(f"/proc/{pid}/task").iterdir()
            for child in (task / "children").read_text().split()
        }
    return set()


def descendants(pid: int) -> set[int]:
    direct = children(pid)
    return direct.union(*map(descendants, direct))


def peak_memory(pid: int) -> float:
    """The most memory that a process has held, in MB; 0 where it is gone."""
    with suppress(OSError):
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
        return int(found[1]) / 1024 if found else 0.0
    return 0.0


def spread(values: list[float]) -> dict[str, float]:
    """Of some seconds: the least, the median and the most."""
    return {"min": round(min(values), 2), "median": round(median(values), 2), "max": round(max(values), 2)}


def warm(folder: Path) -> None:
    """Read all files of a folder, so that no run waits for the disk more than another."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 22):
                    pass
