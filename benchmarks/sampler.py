"""A sampler inside each process of a command: what its main thread does, by the wall clock and by its CPU clock.

`profile_rows.py` starts it by a `sitecustomize.py`; forks have it too. A timer interrupts the main thread every 4 ms of
the wall. The time since the interruption before is added to the stack of the main thread. A call into a library is not
interrupted: its time is added when it returns. All stacks are written five times a second: workers end by SIGKILL.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import time
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType

INTERVAL, FLUSH = 0.004, 0.2  # seconds


class Sampler:
    """The stacks of this process so far, and the seconds of the wall and of the CPU in each."""

    def __init__(self, folder: Path, forked: bool) -> None:
        self.path, self.forked, self.begun = folder / f"{os.getpid()}.json", forked, time.time()
        self.spent: dict[tuple[object, ...], list[float]] = defaultdict(lambda: [0.0, 0.0])
        self.wall, self.cpu, self.flushed = time.monotonic(), time.thread_time(), 0.0
        if not forked:
            self.spent["(interpreter)",] = [self.cpu, self.cpu]
        signal.signal(signal.SIGALRM, self.take)
        signal.siginterrupt(signal.SIGALRM, False)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL)

    def take(self, _: int, frame: FrameType | None) -> None:
        """Add the time since the sample before to this stack."""
        wall, cpu = time.monotonic(), time.thread_time()
        spent = self.spent[stack_of(frame)]
        spent[0] += wall - self.wall
        spent[1] += cpu - self.cpu
        if wall - self.flushed > FLUSH:
            self.flush()
            self.flushed = wall
        self.wall, self.cpu = wall, time.thread_time()
        signal.setitimer(signal.ITIMER_REAL, INTERVAL)  # only now: else one sample would interrupt another

    def flush(self) -> None:
        """Write all stacks. `others`: CPU seconds of other threads, as those of k-means."""
        stacks = [[[name_of(code) for code in stack], *spent] for stack, spent in self.spent.items()]
        others = time.process_time() - time.thread_time()
        about = {"forked": self.forked, "begun": self.begun, "ended": time.time(), "others": others, "stacks": stacks}
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps(about))
        new.replace(self.path)

    def end(self) -> None:
        """Stop, and write all stacks."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self.flush()


def stack_of(frame: FrameType | None) -> tuple[object, ...]:
    """Return the code of each frame, the innermost first."""
    codes: list[CodeType] = []
    while frame is not None:
        codes.append(frame.f_code)
        frame = frame.f_back
    return tuple(codes)


def name_of(code: object) -> str:
    """Return `pseudolabel/engine/run.py:run` of the code of a function."""
    return f"{code.co_filename}:{code.co_name}" if isinstance(code, CodeType) else str(code)


def start(folder: str, forked: bool = False) -> None:
    """Sample this process and its forks. Write to a folder."""
    sampler = Sampler(Path(folder), forked)
    if not forked:
        atexit.register(sampler.end)  # forks of the server end without it
        os.register_at_fork(after_in_child=lambda: start(folder, forked=True))
