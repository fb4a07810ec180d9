"""Finished dataset: open a folder and return its manifest, its task with the original options, and its artefacts."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import tempfile
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from pseudolabel.contracts import Column, RunOptions, UnusableSample, UserError, decoding_errors
from pseudolabel.storage.layout import MANIFEST, PLAN, RECORDS, SUCCESS
from pseudolabel.storage.retry import StoreFailure
from pseudolabel.storage.urls import is_url, open_location
from pseudolabel.tasks import TASKS, Task
from pseudolabel.writers.manifest import FORMAT, VERSIONED_PACKAGES, format_of
from pseudolabel.writers.output_folder import local_artefacts
from pseudolabel.writers.source_columns import SourceColumns, columns_of_manifest

FILE_SHAPE = {"name": str, "split": str, "rows": int, "bytes": int, "sha256": str}
COUNTS_SHAPE = dict.fromkeys(("seen", "used", "skipped", "filtered", "cut", "missing_rows"), int)
RECORD_SHAPE = {
    **{"extents": int, "weight": int, **COUNTS_SHAPE, "tokens": int, "unknown": int, "files": [FILE_SHAPE]},
}
SUMMARY_SHAPE = {**COUNTS_SHAPE, "ignored": int, "rows": dict, "shards": int, "bytes": int, "seconds": int | float}
PLANNED_SHAPE = {
    **{"task": str, "options": dict, "fields": dict, "versions": dict},
    "source": {"files": int, "bytes": int, "keys and sizes": str},
}
MANIFEST_SHAPE = {
    **PLANNED_SHAPE,
    **{
        "artefacts": dict,
        "remarks": [str],
        "exceptions": {"reading": dict, "labelling": dict},
        "summary": SUMMARY_SHAPE,
        "shards": [FILE_SHAPE],
    },
}


def read_json(path: Path, shape: Any, text: str | bytes | None = None) -> dict[str, Any]:
    """Parse a JSON file, or `text` from the file. Raise `UnusableSample` if the file is missing or unlike `shape`."""
    try:
        value: dict[str, Any] = json.loads(path.read_text("utf-8") if text is None else text)
    except StoreFailure:
        raise
    except (OSError, ValueError, RecursionError):
        raise UnusableSample("is missing or is not JSON") from None
    if wrong := _unlike(value, shape, "the JSON value"):
        raise UnusableSample(f"has an unexpected value: {wrong}")
    return value


def _unlike(value: Any, shape: Any, name: str) -> str:
    """Name the first part of `value` that does not match `shape` (type, {key: shape} or [shape]); "" if all match."""
    if isinstance(shape, dict) and isinstance(value, dict):
        parts = (_unlike(value.get(key), part, f"`{key}`") for key, part in shape.items())
        return next(filter(None, parts), "")
    if isinstance(shape, list) and isinstance(value, list):
        return next(filter(None, (_unlike(item, shape[0], name) for item in value)), "")
    fits = not isinstance(shape, dict | list) and isinstance(value, shape)
    return "" if fits else f"{name} is {str(value)[:40]!r}"


@dataclass(frozen=True)
class Dataset:
    """A dataset in folder `out`: its task, options, columns and artefacts, as the manifest gives them."""

    out: Path
    manifest: Mapping[str, Any]

    @cached_property
    def task(self) -> Task:
        """Return the task with its original options. If an option is a file, use its copy in the artefacts."""
        kind, by = TASKS[self.manifest["task"]], f"pseudolabel {self.manifest['versions'].get('pseudolabel')}"
        known = {field.name for field in fields(kind)}
        if unknown := sorted((self.manifest["fields"].keys() - known) & self.manifest["options"].keys()):
            option = unknown[0].replace("_", "-")
            lacking = f"--{option}, which this version does not have"
            raise UserError(f"{self.out} was made by {by} with {lacking}; install that version")
        given = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.manifest["fields"].items()
        }
        given = {name: value for name, value in given.items() if name in known}  # rows do not depend on unknown fields
        for name, pattern in kind.artefact_copies.items():
            if given.get(name):
                given[name] = str(next(self.artefacts.glob(pattern), self.artefacts / pattern))
        try:
            with decoding_errors("the options in its manifest are invalid"):
                return kind(**given)
        except UnusableSample as fault:
            raise UserError(f"{self.out}: {fault}; make the dataset again with --overwrite", 3) from None

    @cached_property
    def artefacts(self) -> Path:
        """Return the local folder with the artefacts of `fit`. If it is a copy, it is deleted with this object."""
        if not is_url(self.out):
            return self.out
        folder = tempfile.mkdtemp(prefix="pseudolabel-")
        weakref.finalize(self, _delete, folder, os.getpid())
        return local_artefacts(self.out, Path(folder))

    @property
    def source_columns(self) -> SourceColumns:
        """Return the columns that `--keep` copied from the source."""
        return columns_of_manifest(self.manifest)

    @property
    def columns(self) -> list[Column]:
        """Return all columns of a row, in order."""
        return self.source_columns.schema(self.task)

    @property
    def options(self) -> RunOptions:
        """Return the run options that the rows depend on."""
        names = [field.name for field in fields(RunOptions) if field.name in self.manifest]
        return RunOptions(**{name: self.manifest[name] for name in names})

    @property
    def command(self) -> str:
        """Return the command that made the rows, with the word SOURCE for the source, without options such as --out."""
        return command_line(TASKS[self.manifest["task"]], {**self.manifest["fields"], **self.manifest})


def _delete(folder: str, process: int) -> None:
    """Delete a folder, but not in a fork of the process that made it."""
    if os.getpid() == process:
        shutil.rmtree(folder)


def open_dataset(out: Path | str, unfinished: bool = False) -> Dataset:
    """Open the dataset in folder `out`. Raise `UserError` if there is none, or if it is unfinished and may not be."""
    out = open_location(out)
    if not (out / MANIFEST).exists():
        why = f"it has no {MANIFEST}" if out.exists() else "it does not exist"
        raise UserError(f"{out} is not a pseudolabel dataset: {why}; give the folder of one")
    finished = (out / SUCCESS).exists()
    if not finished and not unfinished:
        if (out / RECORDS / PLAN).exists():
            raise UserError(
                f"{out} is not finished; make its parts and then finish it, or run its command without plan", 3
            )
        raise UserError(f"{out} is not finished; rerun the command that began it", 3)
    try:
        manifest = read_json(out / MANIFEST, MANIFEST_SHAPE if finished else PLANNED_SHAPE)
    except UnusableSample as fault:
        raise UserError(f"{out / MANIFEST} {fault}; make the dataset again with --overwrite", 3) from None
    if format_of(manifest) not in range(1, FORMAT + 1):
        raise UserError(f"{out} has format {format_of(manifest)}, unknown here; install the version that made it")
    if manifest["task"] not in TASKS:
        lacking = [f"{name}=={manifest['versions'][name]}" for name in manifest["versions"].keys() - VERSIONED_PACKAGES]
        remedy = f"install {lacking[0]}" if lacking else "install the version that made it"
        raise UserError(f"{out} has the task {manifest['task']!r}, which is in no installed package; {remedy}")
    return Dataset(out, manifest)


def command_line(task: type[Task], given: Mapping[str, Any]) -> str:
    """Return the command line of a task: SOURCE, then the options that differ from their defaults."""
    words = ["pseudolabel", task.name, "SOURCE"]
    for field in (*fields(task), *fields(RunOptions)):
        value, option = given.get(field.name, field.default), field.name.replace("_", "-")
        if isinstance(value, bool) and value != field.default:
            words.append(f"--{option}" if value else f"--no-{option}")
        elif value != field.default and value is not None:
            words += [f"--{option}", *map(str, value if isinstance(value, list | tuple) else [value])]
    return shlex.join(words)
