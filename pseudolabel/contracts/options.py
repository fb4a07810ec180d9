"""Command options, one dataclass field each: `Options` checks them, `RunOptions` holds those of every run."""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum
from functools import partial
from math import inf, isfinite
from numbers import Integral, Real
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer import Option

from pseudolabel.contracts.errors import UserError, did_you_mean

LIMIT_HELP = "Use N samples, from files or parts of large files in random order; with --in-order, the first N."
KEEP_HELP = "Columns to copy, as A,B: `folder` (the folder of the file), or columns of a table or a metadata.csv file."
PART_HELP = "Make part I of N of the shards planned by `pseudolabel plan`; run `finish` after all parts."
OUT_HELP = "Output folder, or a URL such as s3://bucket/name. [SOURCE-TASK in the current folder]"
KIND_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}


@dataclass(frozen=True)
class Options:
    """The base class of all options dataclasses. It converts text to the member of a field's StrEnum, and raises
    `UserError` if a value has the wrong type or is outside the Option's min and max. A subclass with more checks calls
    `super().__post_init__()` first."""

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            kind, option = get_args(hints[field.name])[:2]
            value = check_option(getattr(self, field.name), kind, option, f"--{field.name.replace('_', '-')}")
            object.__setattr__(self, field.name, value)

    def given(self, names: Iterable[str]) -> dict[str, Any]:
        """Return the options with these names that exist and are not None."""
        return {name: value for name in names if (value := getattr(self, name, None)) is not None}


def check_option(value: Any, kind: Any, option: Any, name: str) -> Any:
    """Return an option's value, with text converted to the StrEnum member. Raise `UserError` if it is not allowed."""
    choices = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, StrEnum)]
    if choices and value is not None:
        try:
            return choices[0](value)
        except ValueError:
            hint = did_you_mean(str(value), choices[0])
            raise UserError(f"{name} is {value!r}; {hint}choose among {', '.join(choices[0])}") from None
    if isinstance(value, os.PathLike):
        value = str(value)
    value = tuple(map(plain_number, value)) if isinstance(value, list | tuple) else plain_number(value)
    if not _fits(value, kind):
        raise UserError(f"{name} is {value!r}; give {_in_words(kind)}")
    if isinstance(value, int | float):
        low, high = (-inf if option.min is None else option.min), (inf if option.max is None else option.max)
        if not low <= value <= high or not (isfinite(value) or value == option.max):
            span = f"{low:g} or more" if high == inf else f"{low:g} to {high:g}"
            raise UserError(f"{name} {value} is out of range; give {span}")
    return value


def plain_number(value: Any) -> Any:
    """Return a number or truth value of NumPy as that of Python, and any other value unchanged."""
    if getattr(value, "shape", None) == () and value.dtype == bool:
        return bool(value)
    if isinstance(value, bool) or not isinstance(value, Real):
        return value
    return int(value) if isinstance(value, Integral) else float(str(value))  # of a float32 the digits that it shows


def whole_number(name: str, value: Any, low: int | None = None, high: int = sys.maxsize) -> int:
    """Return an int, also of an integer of NumPy or torch. Raise `UserError` for other values and outside the range."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise UserError(f"{name} is {value!r}; give a whole number")
    if low is not None and not low <= number <= high:
        raise UserError(f"{name} is {number}; give {f'{low} or more' if high == sys.maxsize else f'{low} to {high:,}'}")
    return number


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value has the type `kind`. An int passes as a float."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        return isinstance(value, tuple) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _in_words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_in_words(one) for one in get_args(kind))
    return f"{len(get_args(kind))} numbers" if get_origin(kind) is tuple else KIND_WORDS.get(kind, "None")


class Engine(StrEnum):
    """The engine that runs the shards."""

    LOCAL = "local"
    RAY = "ray"


_output, _selection, _running = (partial(Option, rich_help_panel=name) for name in ("Output", "Selection", "Running"))


@dataclass(frozen=True)
class RunOptions(Options):
    """The options that every task's command accepts in addition to the task's own options."""

    out: Annotated[str | None, _output(help=OUT_HELP)] = None
    seed: Annotated[int, _selection(help="Seed of the random number generator: same seed, same bytes.")] = 0
    workers: Annotated[int, _running(min=0, help="Number of worker processes; 0: one per usable core.")] = 0
    engine: Annotated[Engine, _running(help="Run on the cores of this machine, or on the nodes of a Ray cluster.")] = (
        Engine.LOCAL
    )
    ray_address: Annotated[
        str | None, _running(help="Running Ray cluster, HOST:6379. [$RAY_ADDRESS; if unset, a local one is started]")
    ] = None
    shard_size: Annotated[int, _output(min=1, help="Approximate maximum MB of source per shard.")] = 256
    copies: Annotated[int, _selection(min=1, help="Copies of each sample, each with new random numbers.")] = 1
    limit: Annotated[int | None, _selection(min=1, help=LIMIT_HELP)] = None
    validation: Annotated[float, _selection(min=0.0, max=0.99, help="Share of files or documents for validation.")] = (
        0.0
    )
    in_order: Annotated[bool, _selection("--in-order", help="Keep the order of the source; do not shuffle.")] = False
    keep: Annotated[str | None, _output(metavar="COLUMNS", help=KEEP_HELP)] = None
    max_skipped: Annotated[str, _running(help="Fail above this share (5%) or count (100) of unusable samples.")] = "0.5"
    sample_seconds: Annotated[float, _running(min=0.1, help="Skip a sample that takes more seconds to process.")] = (
        300.0
    )
    part: Annotated[str | None, _running(metavar="I/N", help=PART_HELP)] = None
    extend: Annotated[bool, _output("--extend", help="Add shards for new source samples; keep existing shards.")] = (
        False
    )
    overwrite: Annotated[bool, _output("--overwrite", help="Delete the dataset in --out first, if there is one.")] = (
        False
    )

    def __post_init__(self) -> None:
        if isinstance(plain_number(self.max_skipped), int | float):
            object.__setattr__(self, "max_skipped", str(self.max_skipped))
        super().__post_init__()
        share_or_count(self.max_skipped)
        if self.keep is not None:
            names = [name.strip() for name in self.keep.split(",")]
            if "" in names:
                raise UserError(f"--keep {self.keep!r} has an empty name; separate names by commas: folder,licence")
            object.__setattr__(self, "keep", ",".join(dict.fromkeys(names)))
        number, count = self.share
        if not 1 <= number <= count:
            raise UserError(f"--part {self.part} is not I/N with I from 1 to N; for three parts type 1/3, 2/3 or 3/3")
        if self.extend and self.limit is not None:
            raise UserError("--extend adds all new samples, but --limit uses only N samples; give one of them")
        if self.overwrite and (self.part or self.extend):
            raise UserError(
                f"--overwrite deletes the dataset, --{'part' if self.part else 'extend'} continues it; give one of them"
            )

    @classmethod
    def of_call(cls, function: str, options: Mapping[str, Any], names: Sequence[str] = ()) -> RunOptions:
        """Return the options of a call of a function, which takes all options or those with these `names`. Raise
        `UserError` for another name."""
        names = names or [field.name for field in fields(cls)]
        for name in options.keys() - names:
            raise UserError(
                f"{function}() has no option {name!r}; {did_you_mean(name, names)}choose among {', '.join(names)}"
            )
        return cls(**options)

    @property
    def mark(self) -> str:
        """Return the suffix of this part's own files and folders, such as `-2-of-3`; "" without `--part`."""
        return f"-{self.share[0]}-of-{self.share[1]}" if self.part else ""

    @property
    def share(self) -> tuple[int, int]:
        """Return the part number and the count: `2/3` -> (2, 3); without `--part` (1, 1); if malformed (0, 0)."""
        number, _, count = (self.part or "1/1").partition("/")
        return (int(number), int(count)) if number.isdecimal() and count.isdecimal() else (0, 0)


def share_or_count(text: str) -> tuple[float, bool]:
    """Parse `--max-skipped`: `0.5` and `50%` -> (0.5, True), a share; `100` -> (100, False), a count."""
    try:
        if text.endswith("%"):
            limit, share = float(text[:-1]) / 100, True
        else:
            limit, share = float(text), not text.isdecimal()
    except ValueError:
        limit, share = -1.0, False
    if not limit >= 0 or (share and limit > 1):
        raise UserError(f"--max-skipped {text} is invalid; give a share (0.5, 5%) or a count (100)")
    return limit, share


def usable_cores() -> int:
    """Return the number of cores this process may use: the CPU affinity, limited by the cgroup quota if one is set."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup, or no quota ("max")
        pass
    return max(1, count)
