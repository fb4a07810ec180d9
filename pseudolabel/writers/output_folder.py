"""The output folder: whose it is, what it holds, and when it may be written to."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pseudolabel.contracts import UserError
from pseudolabel.readers.sources import archives
from pseudolabel.readers.sources.file_lists import FileList
from pseudolabel.readers.sources.files import TABLE_SUFFIX
from pseudolabel.storage.layout import CARD, LOCK, MANIFEST, PREVIEW, RECORDS, SKIPPED, SUCCESS, WORK
from pseudolabel.storage.stores import store
from pseudolabel.storage.urls import is_url, open_location

WRITABLE_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs")  # stores that take a file whole or not at all
READ_ONLY_REMEDY = "make it in a folder, then send it in one piece, as by: hf upload NAME DIR --repo-type dataset"


def resolve_output(task: str, sources: Sequence[Path], given: Path | str | None) -> Path:
    """Where the dataset goes; refused inside a source, around one, or on top of what is no dataset."""
    if not given and sources[0].name == "-":
        raise UserError("what standard input lists has no name that the dataset could have; give one with --out DIR")
    out = open_location(given or f"{default_name(sources[0])}-{task}")
    if is_url(out) and str(out).partition("://")[0] not in WRITABLE_SCHEMES:
        raise UserError(f"{out} cannot take a dataset shard by shard; {READ_ONLY_REMEDY}")
    if is_url(out) and set("*?[") & set(str(out)):
        raise UserError(f"{out} is no plain address; give one without *, ? and [, with --out")
    for source in sources:
        if out == source or source in out.parents:
            raise UserError(f"--out {out} lies inside the source {source}; give a folder outside of it, with --out DIR")
        if out in source.parents:
            raise UserError(f"the source {source} lies inside --out {out}; give another folder with --out DIR")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder with --out DIR", code=4)
    if out.exists() and not _ours(out) and (strange := sorted(path.name for path in out.iterdir())):
        raise UserError(f"{out} holds something else ({strange[0]}); give a new or an empty folder with --out DIR", 4)
    return out


def default_name(source: Path) -> str:
    """What a dataset made of a source is named after: without the suffix, where that is of a list or an archive."""
    ends = [TABLE_SUFFIX, *archives.SUFFIXES] if not isinstance(source, FileList) else [Path(source.name).suffix]
    end = max((end for end in ends if source.name.lower().endswith(end)), key=len, default="")
    return source.name[: len(source.name) - len(end)] or source.name


def _ours(out: Path) -> bool:
    """Whether the folder is a dataset's: its lock is the first thing ever made in it, then comes the manifest."""
    return (out / LOCK).exists() or (out / MANIFEST).exists()


def local_artefacts(out: Path, folder: Path) -> Path:
    """The local folder that holds what `fit` saved: the dataset's own, or a copy, made once, of what a store has."""
    if not is_url(out):
        return out
    near = folder / "learned"
    if near.exists():
        return near
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        (whole := Path(beside, "whole")).mkdir()
        for name in store(out).sizes(""):
            if name[0] not in "._" and name not in (CARD, PREVIEW):
                store(out).local_copy(name, whole)
        try:
            whole.rename(near)
        except OSError:
            if not near.exists():  # else another worker was faster
                raise
    return near


def clear_output(out: Path) -> None:
    """Delete the dataset but not the lock; the manifest last, for without it nothing that is left would be trusted."""
    home, records = store(out), out / RECORDS
    home.discard(SUCCESS)
    artefacts = [name for name in home.sizes("") if name[0] not in "._" and name not in (CARD, PREVIEW)]
    for folder in ("data", *(path.name for path in out.glob(f"{WORK}*"))):
        home.empty(folder)
    made = [f"{RECORDS}/{name}" for name in home.sizes(records.name) if name != Path(LOCK).name]
    home.discard(*artefacts, *made, SKIPPED, CARD, PREVIEW)
    home.discard(MANIFEST)
