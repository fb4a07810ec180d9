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

from pseudolabel.engine.pools.processes import defined_in_main, start_process

PARENT = """
import sys, time
from processes import hold_the_interpreter
from pseudolabel.engine.pools.processes import start_process
if __name__ == "__main__":
    process, pipe = start_process("probe", hold_the_interpreter)
    print(pipe.recv(), flush=True)
    time.sleep(600)
"""

INTERRUPTED = """
import os, signal, threading
from processes import hold_the_interpreter
from pseudolabel.engine.pools.processes import start_process, start_server
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    start_server()
    os.killpg(0, signal.SIGINT)
    before = dict(os.environ)
    made = []
    start = lambda: made.append(start_process("probe", hold_the_interpreter))
    threads = [threading.Thread(target=start) for _ in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert len({pipe.recv().split()[0] for _, pipe in made}) == 1, "the first server lives"
    assert os.environ == before
"""

PRELOADED = """
from itertools import chain
from processes import tell
from pseudolabel.cli.app import IMPORTS
from pseudolabel.engine.pools.processes import start_process, start_server
if __name__ == "__main__":
    start_server([*chain(*IMPORTS.values())])
    process, pipe = start_process("probe", tell)
    print(pipe.recv()[0])
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


def test_no_module_that_a_command_lets_the_server_import_starts_a_thread(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PRELOADED)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run([sys.executable, "parent.py"], cwd=tmp_path, env=environment, capture_output=True, check=True)
    assert run.stdout == b"1\n"


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


def test_the_server_withstands_ctrl_c_modules_of_the_working_directory_and_threads(tmp_path: Path) -> None:
    (tmp_path / "scripts").mkdir()
    (tmp_path / "scripts" / "parent.py").write_text(INTERRUPTED)
    (tmp_path / "cv2.py").write_text("open('imported', 'w')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "scripts/parent.py"]
    run = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, start_new_session=True, check=False
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert not (tmp_path / "imported").exists()


IN_A_POOL = """
from multiprocessing import Pool
from processes import hold_the_interpreter
from pseudolabel.engine.pools.processes import start_process
if __name__ == "__main__":
    with Pool(1) as pool:
        pool.apply(start_process, ("probe", hold_the_interpreter))
"""

OWN_FUNCTION = """
from pseudolabel.engine.pools.processes import start_process
def own(pipe):
    pipe.send("worked")
if __name__ == "__main__":
    print(start_process("probe", own)[1].recv())
"""

NO_GUARD = """
from processes import tell
from pseudolabel.engine.pools.processes import start_process
print("main")
process, pipe = start_process("probe", tell)
print(pipe.recv()[0], __spec__)
process.kill()
"""


def run_script(code: str, file: str, folder: Path) -> subprocess.CompletedProcess[str]:
    (folder / "script.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, file], cwd=folder, env=environment, input=code, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize(
    ("code", "file", "refused"),
    [
        (OWN_FUNCTION, "-", "cannot import own from <stdin>; put it into a module"),
        (IN_A_POOL, "script.py", "multiprocessing.Pool"),
    ],
)
def test_where_no_worker_can_start_it_is_said(code: str, file: str, refused: str, tmp_path: Path) -> None:
    done = run_script(code, file, tmp_path)
    assert done.returncode == 1
    assert refused in done.stderr.splitlines()[-1]


def test_a_module_that_is_run_is_not_imported_again(tmp_path: Path) -> None:
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__main__.py").write_text(OWN_FUNCTION)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = [sys.executable, "-m", "package"]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert "cannot import own from" in done.stderr.splitlines()[-1]


def test_a_text_that_names_the_main_script_is_no_part_of_it() -> None:
    assert defined_in_main("__main__.py", {"in": Path("my__main__/images")}, tell) == ""


@pytest.mark.parametrize("file", ["script.py", "-"])
def test_a_worker_imports_the_main_script_only_for_what_it_defines(file: str, tmp_path: Path) -> None:
    done = run_script(NO_GUARD, file, tmp_path)
    assert (done.stdout, done.stderr) == ("main\n1 None\n", "")
    assert run_script(OWN_FUNCTION, "script.py", tmp_path).stdout == "worked\n"
