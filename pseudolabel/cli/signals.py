"""Signal handlers, which raise an exception for Ctrl-C and SIGTERM, and the print of an error."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from threading import Timer
from types import FrameType, TracebackType
from typing import NoReturn

AGAIN_SECONDS = 0.02  # seconds until a lost signal is sent again
LINE_LETTERS = 105  # letters of an error and its remedy that stand on one line


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


def fail(wrong: str, remedy: str, code: int) -> int:
    """Print an error: what is wrong and what to type instead. Return the exit code.

    With `--json`, also print one JSON object on standard output. Paths below the current folder are shown relative.
    """
    with suppress(FileNotFoundError):  # the current folder is deleted
        here = f"{os.getcwd()}/"
        wrong, remedy = wrong.replace(here, ""), remedy.replace(here, "")
    apart = "\n" if len(wrong) + len(remedy) > LINE_LETTERS or remedy.startswith("see ") else "; "
    print(f"pseudolabel: {wrong}{apart if remedy else ''}{remedy}", file=sys.stderr, flush=True)
    if "--json" in sys.argv:
        import json

        print(json.dumps({"code": code, "error": wrong, "remedy": remedy}), flush=True)
    return code
