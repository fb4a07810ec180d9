"""Signal handlers, which raise an exception for Ctrl-C and SIGTERM, and the print of an error message."""

from __future__ import annotations

import os
import signal
import sys
from threading import Timer
from types import FrameType, TracebackType
from typing import NoReturn

AGAIN_SECONDS = 0.02  # seconds until a lost signal is sent again


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM. The exit code is 128 plus the number of the signal, as in a shell."""

    def __init__(self, number: int) -> None:
        self.number, self.code = number, 128 + number


def raise_on_signals() -> None:
    """Let SIGINT and SIGTERM raise `Interrupted`, also if they come in a callback or a destructor."""
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    sys.unraisablehook, sys.excepthook = _send_again, _print_fault


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted(number)


def _send_again(lost: sys.UnraisableHookArgs) -> None:
    """Send a signal again whose exception could not propagate, for example through a decoder that reads a file."""
    if isinstance(lost.exc_value, Interrupted):
        Timer(AGAIN_SECONDS, os.kill, (os.getpid(), lost.exc_value.number)).start()
    else:
        sys.__unraisablehook__(lost)


def _print_fault(kind: type[BaseException], fault: BaseException, trace: TracebackType | None) -> None:
    """Print a traceback as Python does, except for a signal: Cython calls this hook before it calls `_send_again`."""
    if kind is not Interrupted:
        sys.__excepthook__(kind, fault, trace)


def fail(message: str, code: int) -> int:
    """Print an error message on standard error; return the exit code."""
    from pseudolabel.contracts import escape_controls  # not before the handlers are installed: it takes a while

    print(f"pseudolabel: {escape_controls(message)}", file=sys.stderr, flush=True)
    return code
