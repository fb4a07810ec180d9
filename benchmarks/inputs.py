"""The inputs of the benchmarks: folders of files of one kind and size, made from real files when first asked for.

Every file is drawn from its number and its kind alone: the same real files make the same input, and a larger input
begins with the files of a smaller one.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from makers.films import make_films
from makers.novels import make_novels, train_tokenizer
from makers.pictures import make_phone, make_photographs
from makers.real_files import MissingData
from makers.speech import make_speech

DATA = Path(__file__).parents[2] / "shared" / "data"
WORK = Path(tempfile.gettempdir()) / "pseudolabel-benchmarks"
MAKERS: dict[str, Callable[[int, Path, Path], None]] = {
    "photographs": make_photographs,
    "phone": make_phone,
    "novels": make_novels,
    "speech": make_speech,
    "films": make_films,
}
UNITS = {"novels": "mb", "speech": "min"}  # of size; else files


class Input(NamedTuple):
    """A folder of files of one kind: so many files, megabytes of text, or minutes of speech."""

    kind: str
    size: int

    @property
    def name(self) -> str:
        """`photographs-8000`"""
        return f"{self.kind}-{self.size}{UNITS.get(self.kind, '')}"


def folder_of(wanted: Input, work: Path, data: Path) -> Path:
    """The folder of an input, made if it is not there. Raises MissingData."""
    folder = work / wanted.name
    if not folder.exists():
        if not data.is_dir():
            raise MissingData(f"{wanted.name}: there is no folder {data}; name a folder of real files by --data")
        print(f"making {folder} from {data}", flush=True)
        unfinished = work / f"{wanted.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        MAKERS[wanted.kind](wanted.size, unfinished, data)
        unfinished.rename(folder)
    return folder


def tokenizer_of(novels: Path) -> Path:
    """The tokenizer.json of novels, trained if it is not there."""
    path = novels.with_name(f"{novels.name}.tokenizer.json")
    if not path.exists():
        train_tokenizer(novels, path)
    return path
