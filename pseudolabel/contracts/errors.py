"""Errors: what stops a run, what makes one input unusable, and the one place where bad input is caught."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

T = TypeVar("T")
Choice = TypeVar("Choice", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Skipped:
    """What is left out, and why: unusable input, or usable and filtered by an option."""

    key: str
    reason: str
    unusable: bool = True
    count: int = 1  # samples
    rows: int = 0  # left out of a sample that is used all the same; `count` is 0 then


class SampleError(Exception):
    """A sample makes no row. The message is the reason, as the user reads it in `_skipped.jsonl`."""


class UnusableSample(SampleError):
    """This input cannot be used: it is damaged, or too small."""


class FilteredSample(SampleError):
    """This input could be used, and an option leaves it out. The message says which, and what was measured."""


class UserError(Exception):
    """The run cannot go on. The message says what is wrong and what to type instead; `code` is the exit code."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


def parse_choice(choices: type[Choice], value: str, name: str) -> Choice:
    """The choice that `value` names; refused if there is none."""
    try:
        return choices(value)
    except ValueError:
        raise UserError(f"{name} is {value!r}; choose among {', '.join(choices)}") from None


def or_skipped(key: str, make: Callable[[], T]) -> T | Skipped:
    """What `make` returns, or the input's `Skipped`: the one place where unusable input is forgiven."""
    try:
        return make()
    except SampleError as bad:
        return Skipped(key, str(bad), unusable=isinstance(bad, UnusableSample))


@contextmanager
def decoding_errors(what: str) -> Iterator[None]:
    """Blame the input for whatever a foreign decoder raises: its bytes are all that decoder touches."""
    try:
        yield
    except SampleError:
        raise
    except Exception as fault:
        raise UnusableSample(f"{what}: {' '.join(str(fault).split())[:120] or type(fault).__name__}") from fault
