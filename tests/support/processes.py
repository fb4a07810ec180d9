"""The command as a process that is watched and killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path

from runs import arguments

ONE = ("--shard-size", 1, "--quiet")  # shards of 1 MB


def finished(out: Path) -> dict[str, int]:
    """Committed shards and their inodes."""
    return {path.name: path.stat().st_ino for path in out.glob("data/*.parquet")}


def start(words: list[object], folder: Path) -> subprocess.Popen[str]:
    """The command in a process group of its own."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(arguments(*words), cwd=folder, start_new_session=True, **quiet)


def kill(run: subprocess.Popen[str]) -> None:
    """The whole process group, at once."""
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def wait_for(true: object, run: subprocess.Popen[str] | None) -> None:
    end = time.monotonic() + 300
    while not true():  # type: ignore[operator]
        assert run is None or run.poll() is None, f"ended too early: {run.stderr.read()}"  # type: ignore[union-attr]
        assert time.monotonic() < end
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """The fork server, then its workers; the resource tracker is none."""
    try:
        pids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        own = [int(p) for p in pids if "resource_tracker" not in Path(f"/proc/{p}/cmdline").read_text()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [process for child in own for process in (child, *children(child))]


def tell(pipe: Connection) -> None:
    """In a worker: send its server's number of threads, and its surroundings; then wait, and exit with code 7."""
    threads = len(os.listdir(f"/proc/{os.getppid()}/task"))
    pipe.send((threads, os.environ.get("PROBE"), os.environ["OMP_NUM_THREADS"], os.getcwd()))
    pipe.recv()
    sys.exit(7)


def hold_the_interpreter(pipe: Connection) -> None:
    """In a worker: send the numbers of its server and of itself, then let no other thread of it run."""
    pipe.send(f"{os.getppid()} {os.getpid()}")
    re.match("(a+)+$", "a" * 64 + "b")
