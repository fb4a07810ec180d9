"""Options: one dataclass field each. `Options` checks them; `RunOptions` are those that every run has."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, fields
from enum import StrEnum
from math import inf, isfinite
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from typer import Option

from pseudolabel.contracts.errors import UserError, parse_choice

KEEP_HELP = "Columns of the source to take along: folder, and those of its tables or of metadata.csv beside media."
PART_HELP = "Make the I-th of N shares of the shards, as `pseudolabel plan` froze them; `finish` comes last."
OUT_HELP = "Folder of the dataset, or an address like s3://bucket/name. [SOURCE-TASK in the current folder]"


KIND_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "a string"}


@dataclass(frozen=True)
class Options:
    """The root of every options dataclass: each field is checked by its type, and by its Option's min and max.

    A field may be given as text that names a member of its StrEnum; the field then holds the member. Raise `UserError`
    for a value of another type or out of bounds. A subclass that checks more calls `super().__post_init__()` first.
    """

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for field in fields(self):
            kind, option = get_args(hints[field.name])[:2]
            value = _checked(getattr(self, field.name), kind, option, f"--{field.name.replace('_', '-')}")
            object.__setattr__(self, field.name, value)


def _checked(value: Any, kind: Any, option: Any, name: str) -> Any:
    """Return the value of an option; a choice as the member of its StrEnum."""
    choices = [one for one in (kind, *get_args(kind)) if isinstance(one, type) and issubclass(one, StrEnum)]
    if choices and value is not None:
        return parse_choice(choices[0], value, name)
    if isinstance(value, os.PathLike):
        value = str(value)
    if not _fits(value, kind):
        raise UserError(f"{name} is {value!r}; give {_in_words(kind)}")
    if isinstance(value, int | float):
        low, high = (-inf if option.min is None else option.min), (inf if option.max is None else option.max)
        if not low <= value <= high or not (isfinite(value) or value == option.max):
            span = f"{low:g} or more" if high == inf else f"{low:g} to {high:g}"
            raise UserError(f"{name} {value} is out of range; give {span}")
    return value


def _fits(value: Any, kind: Any) -> bool:
    """Return whether a value is of an option's type: one of a union, an int for a float, a list for a tuple."""
    if isinstance(kind, UnionType):
        return any(_fits(value, one) for one in get_args(kind))
    if get_origin(kind) is tuple:
        kinds = get_args(kind)
        return isinstance(value, tuple | list) and len(value) == len(kinds) and all(map(_fits, value, kinds))
    if kind in (int, float):
        return isinstance(value, int if kind is int else int | float) and not isinstance(value, bool)
    return isinstance(value, kind)


def _in_words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(_in_words(one) for one in get_args(kind))
    return f"{len(get_args(kind))} numbers" if get_origin(kind) is tuple else KIND_WORDS.get(kind, "None")


class Engine(StrEnum):
    """What runs the shards."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class RunOptions(Options):
    """What every task's command takes beside its own options."""

    out: Annotated[str | None, Option(help=OUT_HELP)] = None
    seed: Annotated[int, Option(help="Seed of all chance: same seed, same bytes.")] = 0
    workers: Annotated[int, Option(min=0, help="Worker processes; 0: all cores this process may use.")] = 0
    engine: Annotated[Engine, Option(help="Run on this machine's cores, or on the nodes of a Ray cluster.")] = (
        Engine.LOCAL
    )
    ray_address: Annotated[
        str | None, Option(help="A running Ray cluster, HOST:6379. [RAY_ADDRESS; else one is started here]")
    ] = None
    shard_size: Annotated[int, Option(min=1, help="Most MB of source per shard.")] = 256
    copies: Annotated[int, Option(min=1, help="Rows of each sample, each with fresh chance.")] = 1
    limit: Annotated[int | None, Option(min=1, help="Use only the first N samples.")] = None
    validation: Annotated[float, Option(min=0.0, max=0.99, help="Share of the files or documents kept apart.")] = 0.0
    in_order: Annotated[bool, Option("--in-order", help="Keep the source's order instead of mixing it.")] = False
    keep: Annotated[str | None, Option(metavar="COLUMNS", help=KEEP_HELP)] = None
    max_skipped: Annotated[str, Option(help="Most unusable samples: a share (0.5, 5%) or a count (100).")] = "0.5"
    sample_seconds: Annotated[float, Option(min=0.1, help="Longest time for one sample before it is skipped.")] = 300.0
    part: Annotated[str | None, Option(metavar="I/N", help=PART_HELP)] = None
    extend: Annotated[bool, Option("--extend", help="Add shards for what the source gained; the others stay.")] = False
    overwrite: Annotated[bool, Option("--overwrite", help="Delete the dataset in --out first, if there is one.")] = (
        False
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        share_or_count(self.max_skipped)
        if self.keep is not None:
            names = [name.strip() for name in self.keep.split(",")]
            if "" in names:
                raise UserError(f"--keep {self.keep!r} names no column; type names with commas between: folder,licence")
            object.__setattr__(self, "keep", ",".join(dict.fromkeys(names)))
        number, count = self.share
        if not 1 <= number <= count:
            raise UserError(f"--part {self.part} is none of N parts; type 1/3, 2/3 or 3/3 for three")
        if self.extend and self.limit is not None:
            raise UserError("--extend adds all that is new and --limit leaves some out; give one of them")
        if self.overwrite and (self.part or self.extend):
            raise UserError(
                f"--overwrite begins afresh, --{'part' if self.part else 'extend'} goes on; give one of them"
            )

    @property
    def mark(self) -> str:
        """What this part's own files and folders are named by: `-2-of-3`; nothing for the whole."""
        return f"-{self.share[0]}-of-{self.share[1]}" if self.part else ""

    @property
    def share(self) -> tuple[int, int]:
        """Which part of how many: `2/3` -> (2, 3). The whole is 1 of 1; (0, 0) where it is written otherwise."""
        number, _, count = (self.part or "1/1").partition("/")
        return (int(number), int(count)) if number.isdecimal() and count.isdecimal() else (0, 0)


def share_or_count(text: str | float) -> tuple[float, bool]:
    """`0.5` and `50%` -> (0.5, True), a share; `100` -> (100, False), a count."""
    text = str(text)
    try:
        if text.endswith("%"):
            limit, share = float(text[:-1]) / 100, True
        else:
            limit, share = float(text), "." in text
    except ValueError:
        limit, share = -1.0, False
    if not limit >= 0 or (share and limit > 1):
        raise UserError(f"--max-skipped {text} is neither a share (0.5, 5%) nor a count (100)")
    return limit, share


def usable_cores() -> int:
    """Return how many cores this process may use, by its CPU affinity and by the cgroup's quota if there is one."""
    count = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        count = min(count, -(-int(quota) // int(period)))
    except (OSError, ValueError):  # no cgroup, or no quota ("max")
        pass
    return max(1, count)
