"""Fork server: a process that has imported what workers need, and forks each worker. A fork takes milliseconds.

A fork of a process that has threads may hang. So the server imports no module that starts one, as pyarrow does; if it
has threads in spite of that, or the system is not Linux, a worker is a new interpreter. The server serves all pools of
the process that started it, and ends with that process, or when it is idle.
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from multiprocessing import Pipe, spawn
from multiprocessing.connection import Connection
from typing import Any, NoReturn

ONE_THREAD = {  # one process per core; OMP_NUM_THREADS also limits Arrow and faiss
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "ARROW_IO_THREADS"), "1"),
    "TOKENIZERS_PARALLELISM": "false",
    "OPENCV_LOG_LEVEL": "SILENT",
}
PRELOADED = ("pseudolabel.engine.pools.local", "cv2", "PIL.Image")
PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>
SERVER_SECONDS = 0.5  # seconds between two looks for the server, where the kernel does not end its children
IDLE_SECONDS = 60.0  # seconds without a worker after which the server ends; the next pool starts another
NUMBER_BYTES = 8  # bytes of a message between the parent and the server: a process id, an exit code, or FORK
FORK = 0


# --- in the server and its workers -----------------------------------------------------------------------------------


def serve(channel: int) -> None:
    """Answer the parent until it ends: fork a worker for a pipe, or wait until a worker has ended."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole process group; the parent handles it
    for name in PRELOADED:
        import_module(name)
    gc.freeze()  # else the first collection in each worker copies all pages
    server, parent, workers = os.getpid(), socket.socket(fileno=channel), 0
    while True:
        parent.settimeout(None if workers else IDLE_SECONDS)
        try:
            message, pipes, *_ = socket.recv_fds(parent, NUMBER_BYTES, 1)
        except TimeoutError:
            return
        if not message:  # the parent ended; the kernel ends the workers that are left
            return
        number = int.from_bytes(message, "little")
        if number != FORK:
            number = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
            workers -= 1
        else:
            forkable = _has_one_thread()
            if not (number := os.fork()):
                parent.close()
                if forkable:
                    work(pipes[0], server)
                os.set_inheritable(pipes[0], True)
                os.execv(*_python(f"work({pipes[0]}, {server})"))
            os.close(pipes[0])
            workers += 1
        parent.sendall(number.to_bytes(NUMBER_BYTES, "little", signed=True))


def _has_one_thread() -> bool:
    return sys.platform == "linux" and len(os.listdir("/proc/self/task")) == 1


def _python(call: str) -> tuple[str, list[str]]:
    """Return an interpreter, and its arguments to call a function of this module."""
    python = os.fsdecode(spawn.get_executable())
    code = f"import sys; sys.path[:] = {sys.path!r}\nfrom pseudolabel.engine.pools import server; server.{call}"
    return python, [python, "-c", code]


def work(pipe: int, server: int) -> NoReturn:
    """Run the function that the pipe sends, with the environment and the main module of the parent, and end."""
    global _preparing
    code, ours = 1, Connection(pipe)
    try:
        _end_with(server)
        os.environ.clear()
        os.environ.update(ours.recv())
        _preparing = True
        spawn.prepare(ours.recv())
        _preparing = False
        function, given = ours.recv()
        function(ours, *given)
        code = 0
    except Exception:
        traceback.print_exc()
    finally:
        os._exit(code)


def _end_with(server: int) -> None:
    """End this process when the server ends, which ends with its parent."""

    def watch() -> None:
        while os.getppid() == server:
            time.sleep(SERVER_SECONDS)
        os._exit(1)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != server:  # it ended before
            os._exit(1)
    else:
        threading.Thread(target=watch, daemon=True).start()


# --- in the parent ---------------------------------------------------------------------------------------------------


class ForkServer:
    """A fork server, and the channel to it."""

    def __init__(self) -> None:
        self._started_in = _surroundings()
        self._channel, theirs = socket.socketpair()
        self._exchange = threading.Lock()
        with theirs:
            self._process = subprocess.Popen(
                _python(f"serve({theirs.fileno()})")[1],
                stdin=subprocess.DEVNULL,
                env={**os.environ, **ONE_THREAD},
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.end)

    def ask(self, number: int, *pipes: int) -> int | None:
        """Send a message and return the answer; None if the server has died."""
        with self._exchange:
            try:
                socket.send_fds(self._channel, [number.to_bytes(NUMBER_BYTES, "little")], pipes)
                answer = self._channel.recv(NUMBER_BYTES)
            except OSError:
                return None
            except BaseException:  # an interrupt: else the answer to this message would be taken for the next one's
                self.end()
                raise
        return int.from_bytes(answer, "little", signed=True) if answer else None

    def is_usable(self) -> bool:
        """Return whether the server runs, and what it forks is like a new process of this one."""
        return self._started_in == _surroundings() and self._process.poll() is None

    def end(self) -> None:
        """End the server and, by the kernel, its workers."""
        self._channel.close()
        if self._started_in[0] == os.getpid():  # not in a fork of this process
            self._process.kill()
            self._process.wait()


def _surroundings() -> tuple[Any, ...]:
    """Return what a process inherits and `work` does not set."""
    return os.getpid(), os.geteuid(), os.sched_getaffinity(0) if sys.platform == "linux" else None


_server: ForkServer | None = None  # for all pools of this process
_preparing = False  # whether this process is a worker that imports the main module


def fork_server() -> ForkServer:
    """Return the fork server of this process. Start it if there is none."""
    global _server
    if _preparing:
        raise RuntimeError('a worker imports this script: call run() below `if __name__ == "__main__":`')
    if _server is None or not _server.is_usable():
        _server = ForkServer()
    return _server


class Process:
    """A worker process that runs `function(pipe, *given)`, where `pipe` is the other end of the pipe here."""

    def __init__(self, name: str, function: Callable[..., None], *given: Any) -> None:
        self._server = fork_server()
        main = spawn.get_preparation_data(name)
        del main["authkey"]  # it cannot be pickled; nothing here needs it
        self.pipe, theirs = Pipe()
        with theirs:
            self.pid = self._server.ask(FORK, theirs.fileno())
        with suppress(ConnectionError):  # it died already, as the end of the pipe will show
            self.pipe.send({**os.environ, **ONE_THREAD})
            self.pipe.send(main)
            self.pipe.send((function, given))

    def kill(self) -> None:
        """Kill the process. Its number is not used again before `wait`."""
        if self.pid:
            with suppress(ProcessLookupError):  # the server died, and its workers with it
                os.kill(self.pid, signal.SIGKILL)

    def wait(self) -> int:
        """Wait until the process has ended. Return its exit code, negative for a signal."""
        code = self._server.ask(self.pid) if self.pid else None
        return -signal.SIGKILL if code is None else code
