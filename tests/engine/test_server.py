"""The fork server: what a worker gets of its parent, and a server that must not fork."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from processes import tell

from pseudolabel.engine.pools import server
from pseudolabel.engine.pools.server import Process, fork_server


def test_a_worker_is_forked_from_one_thread_and_is_as_a_new_process_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for probe in ("one", "two"):
        monkeypatch.setenv("PROBE", probe)
        (tmp_path / probe).mkdir()
        monkeypatch.chdir(tmp_path / probe)
        worker = Process("probe", tell)
        assert worker.pipe.recv() == (1, True, probe, "1", str(tmp_path / probe))
        worker.pipe.send("end")
        assert worker.wait() == 1, "it ended with an exception"
    before, every = fork_server(), os.sched_getaffinity(0)
    assert fork_server() is before
    os.sched_setaffinity(0, {min(every)})
    try:
        worker = Process("probe", tell)
        assert os.sched_getaffinity(worker.pid or 0) == {min(every)}
    finally:
        os.sched_setaffinity(0, every)
    worker.kill()
    assert worker.wait() == -signal.SIGKILL


def test_a_server_with_threads_starts_new_interpreters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that the server imports starts a thread, as another build of OpenCV may."""
    thread = "import threading, time\nthreading.Thread(target=time.sleep, args=[99], daemon=True).start()\n"
    (tmp_path / "sitecustomize.py").write_text(thread)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(server, "_server", None)
    worker = Process("probe", tell)
    assert worker.pipe.recv()[:2] == (2, False)
    fork_server().end()
    with pytest.raises(EOFError):  # the kernel ended it with its server
        worker.pipe.recv()
    assert worker.wait() == -signal.SIGKILL
