"""Errors that stop a run, errors of one sample, and the functions that convert exceptions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from pseudolabel.contracts.display import one_line

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Skipped:
    """A record of a skipped input: unusable, or usable but filtered by an option."""

    key: str
    reason: str
    unusable: bool = True
    count: int = 1  # samples
    rows: int = 0  # rows missing from a sample that is still used; `count` is then 0


class SampleError(Exception):
    """A sample that gives no row. The message is the reason written to `_skipped.jsonl`. `count` is the number of
    samples lost, if known: a damaged table loses all its rows."""

    def __init__(self, reason: str, count: int = 1) -> None:
        super().__init__(reason)
        self.count = max(1, count)


class UnusableSample(SampleError):
    """An input that cannot be used, for example because it is damaged or too small."""


class FilteredSample(SampleError):
    """A usable input that an option filters out. The message names the option and the measured value."""


class UserError(Exception):
    """An error that stops the run. The message is `what is wrong; what to type instead`, or these on two lines. `code`
    is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def split_remedy(message: str) -> tuple[str, str]:
    """Split the message of a `UserError`, at the first line end or else the last "; ". The remedy may be ""."""
    wrong, mark, remedy = message.partition("\n")
    if not mark and "; " in message:
        wrong, _, remedy = message.rpartition("; ")
    return wrong, remedy


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "did you mean NAME? " with the known name that is most like `word`, "" if none is like it."""
    from difflib import get_close_matches

    return "".join(f"did you mean {name}? " for name in get_close_matches(word, list(known), 1))


def or_skipped(make: Callable[[], T], key: str = "") -> T | Skipped:
    """Return `make()`, or a `Skipped` with the reason if `make` raises `SampleError`."""
    try:
        return make()
    except SampleError as bad:
        return Skipped(key, str(bad), unusable=isinstance(bad, UnusableSample), count=bad.count)


@contextmanager
def decoding_errors(what: str) -> Iterator[None]:
    """Convert exceptions of a decoder into `UnusableSample`: a decoder sees only the input, so the input is bad."""
    try:
        yield
    except SampleError:
        raise
    except Exception as fault:
        raise UnusableSample(f"{what}: {one_line(fault) or type(fault).__name__}") from fault
