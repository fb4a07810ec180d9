"""The command as a process that is watched and killed."""

from __future__ import annotations

import os
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


def wait_for(true: object, run: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 300
    while not true():  # type: ignore[operator]
        assert run.poll() is None, f"ended too early: {run.stderr.read()}"  # type: ignore[union-attr]
        assert time.monotonic() < end
        time.sleep(0.005)


def children(pid: int) -> list[int]:
    """The fork server, then its workers."""
    try:
        pids = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [process for child in pids for process in (child, *children(child))]


def tell(pipe: Connection) -> None:
    """In a worker: send its server's number of threads, whether it is a fork, and its surroundings; then wait."""
    threads = len(os.listdir(f"/proc/{os.getppid()}/task"))
    forked = "serve(" in Path("/proc/self/cmdline").read_text()
    pipe.send((threads, forked, os.environ.get("PROBE"), os.environ["OMP_NUM_THREADS"], os.getcwd()))
    pipe.recv()
    sys.exit()
