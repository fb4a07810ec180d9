"""A finished dataset, read back: its manifest, its task with the options it was made with, and its files."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from pseudolabel.folder import SUCCESS
from pseudolabel.options import RunOptions
from pseudolabel.readers.files import MANIFEST
from pseudolabel.sample import Refused
from pseudolabel.tasks import TASKS, Task


@dataclass(frozen=True)
class Dataset:
    """What lies in a folder that a run has signed."""

    out: Path
    manifest: Mapping[str, Any]

    @cached_property
    def task(self) -> Task:
        """The task as it was; a file that an option named is taken from among the artefacts."""
        kind = TASKS[self.manifest["task"]]
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in self._fields.items()}
        kept = {name: str(next(self.out.glob(copy))) for name, copy in kind.kept.items() if given.get(name)}
        return kind(**{**given, **kept})

    @property
    def options(self) -> RunOptions:
        """Those of the run that decide what the dataset is."""
        names = [field.name for field in fields(RunOptions) if field.name in self.manifest]
        return RunOptions(**{name: self.manifest[name] for name in names})

    @property
    def _fields(self) -> Mapping[str, Any]:
        try:
            given: Mapping[str, Any] = self.manifest["fields"]
        except KeyError:
            raise Refused(f"{self.out} was made by an older version, which kept no options; make it again") from None
        return given

    @property
    def command(self) -> str:
        """What was typed, but for the source's place and what only says how fast or where to."""
        return command(TASKS[self.manifest["task"]], {**self._fields, **self.manifest})


def opened(out: Path) -> Dataset:
    """The dataset in a folder. Refused where there is none, or an unfinished one."""
    out = Path(os.path.abspath(out))
    if not (out / MANIFEST).exists():
        raise Refused(f"{out} is no dataset made by pseudolabel: it has no {MANIFEST}; give the folder of one")
    try:
        manifest = json.loads((out / MANIFEST).read_text("utf-8"))
    except ValueError:
        raise Refused(f"{out / MANIFEST} cannot be read; make the dataset again with --overwrite", 3) from None
    if not (out / SUCCESS).exists() or "summary" not in manifest:
        raise Refused(f"{out} is not finished; run the command that made it again", 3)
    if manifest["task"] not in TASKS:
        raise Refused(f"{out} is of the task {manifest['task']!r}, which this version does not have")
    return Dataset(out, manifest)


def command(task: type[Task], given: Mapping[str, Any]) -> str:
    """The command line of a task: SOURCE, and the options that are not as they are by default."""
    words = ["pseudolabel", task.name, "SOURCE"]
    for field in (*fields(task), *fields(RunOptions)):
        value, option = given.get(field.name, field.default), field.name.replace("_", "-")
        if isinstance(value, bool) and value != field.default:
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value != field.default and value is not None:
            words += [f"--{option}", *map(str, value if isinstance(value, list | tuple) else [value])]
    return shlex.join(words)
