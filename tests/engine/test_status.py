"""A worker's status: whole, or of nobody, however its process and the machine ended."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from pseudolabel.engine.jobs import Job
from pseudolabel.engine.plan import Shard
from pseudolabel.engine.pools.status import StatusFile, WorkerStatus, read_status

ODD = "in\udcff\0side.zip/ü\n"  # a name that is no UTF-8


def write_for_ever(path: Path) -> None:
    status, i = StatusFile(path), 0
    status.begin(Job("observe", Shard(7, ()), trial=True))
    while True:
        i += 1
        status.write(f"{i}" * (i % 90 + 1), f"{i}{ODD}")


def test_a_status_that_is_read_while_it_is_written_and_after_a_kill_names_one_sample(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.status"
    assert read_status(path) is None
    StatusFile(path)
    assert read_status(path) is None, "nothing is written yet"
    if not (pid := os.fork()):
        try:
            write_for_ever(path)
        finally:
            os._exit(1)
    seen, end = set[WorkerStatus | None](), time.monotonic() + 60
    while len(seen) < 50 and time.monotonic() < end:
        seen |= {read_status(path) for _ in range(50)}
        time.sleep(0.001)  # the writer may have no core of its own
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    seen = {*seen, read_status(path)} - {None}
    assert len(seen) >= 49
    for status in seen:
        assert status is not None
        i = status.tick
        assert status == WorkerStatus(i, "observe", True, 7, f"{i}" * (i % 90 + 1), f"{i}{ODD}")


def test_a_file_that_lost_some_of_its_pages_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "worker-1.status"
    status = StatusFile(path)
    status.begin(Job("make", Shard(0, ())))
    status.write("a" * 5000, "b" * 5000)
    whole = path.read_bytes()
    said = read_status(path)
    assert said is not None
    assert (said.extent, said.key) == ("a" * 5000, "b" * 5000)
    for start in range(0, 12288, 4096):
        path.write_bytes(whole[:start] + bytes(4096) + whole[start + 4096 :])
        assert read_status(path) is None
        path.write_bytes(whole[:start])
        assert read_status(path) is None
    status = StatusFile(path)
    status.write("short", "one")
    status.write("a" * 200_000, "a name that has no room")
    assert read_status(path) is None
