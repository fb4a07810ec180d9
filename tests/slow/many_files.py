"""A source of 2,000,000 files: how long the plan takes, and what it holds of them. `python tests/slow/many_files.py`

The files are there, 1,000 in each folder, as links to one small picture. Prints the seconds and the most memory held,
and ends with 1 where that is above the bound.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))  # as a program, not by pytest

from fuzz import PARENT, watched
from runs import FIXTURES, arguments

EACH = 1000  # files of a folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2_000_000, help="files")
    parser.add_argument("--command", nargs="+", default=["plan", "jigsaw", "SOURCE"], help="what is measured")
    chosen = parser.parse_args()
    picture = (FIXTURES / "images" / "plains" / "02.webp").read_bytes()
    with TemporaryDirectory() as folder:
        begun, source = time.monotonic(), Path(folder) / "source"
        for number in range(0, chosen.count, EACH):
            grow(source / f"{number:08d}", picture, min(EACH, chosen.count - number))
        print(f"{chosen.count:,} files made in {time.monotonic() - begun:.0f} s")
        begun = time.monotonic()
        words = [str(source) if word == "SOURCE" else word for word in chosen.command]
        process = subprocess.Popen(arguments(*words), cwd=folder, stdout=subprocess.PIPE, text=True)
        held = watched(process, inf)[process.pid]
        print(process.stdout.read() if process.stdout else "")
        print(f"{time.monotonic() - begun:.0f} s, at most {held} MB in the parent")
    return process.returncode or int(held > PARENT)


def grow(folder: Path, data: bytes, count: int) -> None:
    """A folder of `count` names of one file."""
    folder.mkdir(parents=True)
    first = folder / "0000.webp"
    first.write_bytes(data)
    for number in range(1, count):
        os.link(first, folder / f"{number:04d}.webp")


if __name__ == "__main__":
    sys.exit(main())
