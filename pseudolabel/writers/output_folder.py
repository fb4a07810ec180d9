"""Output folder: check that a dataset may be written to it, copy its artefacts, and clear it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pseudolabel.contracts import UserError
from pseudolabel.readers.sources import archives, formats
from pseudolabel.readers.sources.file_lists import FileList
from pseudolabel.storage.layout import DATA, LOCK, MANIFEST, RECORDS, REPORTS, SKIPPED, SUCCESS, WORK
from pseudolabel.storage.stores import store
from pseudolabel.storage.urls import is_url, open_location

WRITABLE_SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "abfs")  # stores that write a file atomically
READ_ONLY_REMEDY = "make it in a local folder, then upload it: hf upload NAME DIR --repo-type dataset"


def resolve_output(task: str, sources: Sequence[Path], given: Path | str | None) -> Path:
    """Return the output folder. Raise `UserError` if it is inside a source, contains one, or holds other files."""
    if given is None and sources[0].name == "-":
        raise UserError("standard input has no name for the dataset; give one with --out DIR")
    out = open_location(f"{default_name(sources[0])}-{task}" if given is None else given)
    if is_url(out) and str(out).partition("://")[0] not in WRITABLE_SCHEMES:
        raise UserError(f"{out} cannot store a dataset shard by shard; {READ_ONLY_REMEDY}")
    if is_url(out) and set("*?[") & set(str(out)):
        raise UserError(f"--out {out} contains *, ? or [; give a URL without them")
    for source in sources:
        if out == source or source in out.parents:
            raise UserError(f"--out {out} is inside the source {source}; give a folder outside it with --out DIR")
        if out in source.parents:
            raise UserError(f"the source {source} is inside --out {out}; give another folder with --out DIR")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file; give a folder with --out DIR", code=4)
    if out.exists() and not _ours(out) and (strange := sorted(path.name for path in out.iterdir())):
        raise UserError(f"{out} holds other files ({strange[0]}); give a new or empty folder with --out DIR", 4)
    return out


def default_name(source: Path) -> str:
    """Return the start of a dataset name: the source's name without the suffix of a list, an archive or a table."""
    ends = [formats.TABLE, *archives.SUFFIXES] if not isinstance(source, FileList) else [Path(source.name).suffix]
    end = max((end for end in ends if source.name.lower().endswith(end)), key=len, default="")
    return source.name[: len(source.name) - len(end)] or source.name


def _ours(out: Path) -> bool:
    """Return whether the folder holds a dataset. A run creates the lock first, then the manifest."""
    return (out / LOCK).exists() or (out / MANIFEST).exists()


def local_artefacts(out: Path, folder: Path) -> Path:
    """Return the local folder with the artefacts of `fit`: `out`, or a copy in `folder` if `out` is in a store."""
    if not is_url(out):
        return out
    near = folder / "learned"
    if near.exists():
        return near
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        (whole := Path(beside, "whole")).mkdir()
        for name in store(out).sizes(""):
            if name[0] not in "._" and name not in REPORTS:
                store(out).local_copy(name, whole)
        try:
            whole.rename(near)
        except OSError:
            if not near.exists():  # else another worker made the copy first
                raise
    return near


def clear_output(out: Path) -> None:
    """Delete the dataset except its lock. Delete the manifest last, because it identifies the remaining shards."""
    home, records = store(out), out / RECORDS
    home.discard(SUCCESS)
    artefacts = [name for name in home.sizes("") if name[0] not in "._" and name not in REPORTS]
    for folder in (DATA, *(path.name for path in out.glob(f"{WORK}*"))):
        home.empty(folder)
    made = [f"{RECORDS}/{name}" for name in home.sizes(records.name) if name != Path(LOCK).name]
    home.discard(*artefacts, *made, SKIPPED, *REPORTS)
    home.discard(MANIFEST)
