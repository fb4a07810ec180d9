"""What Windows and macOS lack, hidden in every process of a run: a simulation, for no such machine is at hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from runs import FIXTURES, arguments, records

from pseudolabel.testing.checks import checksums

HIDDEN = """
import filelock  # it has a lock for each system; that of Linux stands for them
import os, signal, sys, sysconfig
for name in ("pthread_sigmask", "SIGHUP", "SIGALRM", "setitimer"):
    delattr(signal, name)
for name in ("fcntl", "resource", "pwd", "grp", "termios", "multiprocessing.forkserver"):
    sys.modules[name] = None
import PIL.Image, cv2, multiprocessing.popen_spawn_posix, multiprocessing.resource_tracker  # which look at the platform
sysconfig.get_config_vars()
for name in ("sched_getaffinity", "sched_setaffinity", "getuid", "geteuid", "fork", "pwrite", "pread", "posix_fadvise",
             "copy_file_range", "sendfile", "fchmod", "statvfs", "memfd_create", "mkfifo"):
    delattr(os, name)
sys.platform = "another"  # by the names of real ones libraries call functions of their systems
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> dict[str, str]:
    """The environment of a process, and of all that it starts, that lacks what `HIDDEN` hides."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "sitecustomize.py").write_text(HIDDEN)
    return {**os.environ, "PYTHONPATH": str(tmp_path / "hidden")}


def run(*words: object, environment: dict[str, str], folder: Path, code: int = 0) -> str:
    done = subprocess.run(arguments(*words), env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(("task", "source"), [("jigsaw", "images"), ("mask-text", "text"), ("arrow-of-time", "video")])
def test_the_spine_runs_without_what_only_linux_has(
    task: str, source: str, elsewhere: dict[str, str], tmp_path: Path
) -> None:
    """It makes the same bytes, verifies them, and has nothing to do when run again."""
    for out, environment in {"here": dict(os.environ), "elsewhere": elsewhere}.items():
        run(task, FIXTURES / source, "--out", out, "--workers", 2, environment=environment, folder=tmp_path)
    assert checksums(tmp_path / "here") == checksums(tmp_path / "elsewhere")
    words = ("verify", "elsewhere", "--against", FIXTURES / source, "--workers", 2, "--json")
    found = json.loads(run(*words, environment=elsewhere, folder=tmp_path).partition("\n")[0])
    assert found["true"] == found["checked"] > 0
    again = run(task, FIXTURES / source, "--out", "elsewhere", environment=elsewhere, folder=tmp_path)
    assert "nothing to do" in again


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["worker", "parent"])
def test_kills_there(killed: str, elsewhere: dict[str, str], pictures: Path, tmp_path: Path) -> None:
    """A second run is refused; a killed worker is replaced; after a killed run the lock is free, its workers gone."""
    words = ("jigsaw", pictures, "--shard-size", 1, "--workers", 2, "--copies", 20)
    with subprocess.Popen(arguments(*words, "--out", "out"), env=elsewhere, cwd=tmp_path) as begun:
        while not list((tmp_path / "out").glob("data/*.parquet")):
            assert begun.poll() is None
            time.sleep(0.05)
        workers = children(begun.pid)
        begun.send_signal(signal.SIGSTOP)  # it holds its lock for as long as the second run takes to begin
        refused = run(*words, "--out", "out", environment=elsewhere, folder=tmp_path, code=4)
        begun.send_signal(signal.SIGCONT)
        assert "another run is writing to" in refused
        os.kill(workers[0] if killed == "worker" else begun.pid, signal.SIGKILL)
    assert begun.returncode == (0 if killed == "worker" else -signal.SIGKILL)
    limit = time.monotonic() + 20
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < limit, "workers live on without their parent"
        time.sleep(0.1)
    run(*words, "--out", "out", environment=elsewhere, folder=tmp_path)
    run(*words, "--out", "whole", environment=dict(os.environ), folder=tmp_path)
    assert len(records(tmp_path / "out")) > 1
    assert checksums(tmp_path / "out") == checksums(tmp_path / "whole")


def children(pid: int) -> list[int]:
    """The workers of a process: Python processes whose command line says spawn."""
    found = subprocess.run(["pgrep", "-P", str(pid), "-f", "spawn_main"], capture_output=True, text=True).stdout
    return [int(child) for child in found.split()]
