"""Worker processes: what a fork of the server gets of its parent, and that it ends with the parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from processes import tell, wait_for

from pseudolabel.engine.pools.processes import start_process

PARENT = """
import sys, time
from processes import hold_the_interpreter
from pseudolabel.engine.pools.processes import start_process
if __name__ == "__main__":
    process, pipe = start_process("probe", hold_the_interpreter)
    print(pipe.recv(), flush=True)
    time.sleep(600)
"""


def test_a_worker_is_forked_from_one_thread_and_is_as_a_new_process_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for probe in ("one", "two"):
        monkeypatch.setenv("PROBE", probe)
        (tmp_path / probe).mkdir()
        monkeypatch.chdir(tmp_path / probe)
        process, pipe = start_process("probe", tell)
        assert pipe.recv() == (1, probe, "1", str(tmp_path / probe))
        pipe.send("end")
        process.join()
        assert process.exitcode == 7
    process, pipe = start_process("probe", tell)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def test_a_fork_of_the_parent_starts_new_interpreters(tmp_path: Path) -> None:
    process, pipe = start_process("probe", tell)
    pipe.recv()
    if not (fork := os.fork()):
        with suppress(BaseException):
            inner, other = start_process("probe", tell)
            (tmp_path / "said").write_text(repr(other.recv()[2]))
            inner.kill()
        os._exit(0)
    os.waitpid(fork, 0)
    assert (tmp_path / "said").read_text() == "'1'"
    pipe.send("end")
    process.join()
    assert process.exitcode == 7


def test_worker_and_server_end_with_their_parent_though_the_interpreter_is_held(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "parent.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        server, worker = map(int, run.stdout.readline().split())
        run.kill()
    wait_for(lambda: not any(Path(f"/proc/{process}/stat").exists() for process in (server, worker)), None)
