"""The real files that inputs are made from."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any


class MissingData(Exception):
    """There is nothing to make an input from."""


def sources(data: Path, folder: str, suffixes: str, usable: Callable[[Path], bool]) -> list[Path]:
    """The usable files of a folder, by name. Raises MissingData where there is none."""
    names = suffixes.split()
    found = [path for path in sorted((data / folder).rglob("*")) if path.suffix.lower() in names and usable(path)]
    if not found:
        raise MissingData(f"{data / folder} has no usable file of {suffixes}")
    return found


def in_parallel(make: Callable[[int], Any], count: int) -> None:
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for _ in pool.map(make, range(count), chunksize=8):
            pass
