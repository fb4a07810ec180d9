"""The output folder: whose it is, what it holds, and when it may be written to."""

from __future__ import annotations

import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pseudolabel.addresses import is_address, located
from pseudolabel.readers.files import MANIFEST, title
from pseudolabel.sample import Refused, T
from pseudolabel.shards import write_whole
from pseudolabel.stores import LOCK, store

SUCCESS, SKIPPED, CARD, RECORDS, WORK = "_SUCCESS", "_skipped.jsonl", "README.md", "_records", "_work"
PREVIEW = "index.html"
ARTEFACTS, DEATHS, TRACE = "artefacts.json", "deaths.json", "error.txt"
PLAN, KEPT, LEDGER = "plan.jsonl", "kept.json", "made.jsonl"  # what parts are to make; what was made
WRITTEN = ("s3", "s3a", "gs", "gcs", "az", "abfs")  # stores that take a file whole or not at all
REMEDY = "make it in a folder, then send it in one piece, as by: hf upload NAME DIR --repo-type dataset"
DECIDING = (  # packages whose version may change a byte
    *("pseudolabel", "numpy", "pyarrow", "pillow", "opencv-python-headless", "tokenizers"),
    *("soundfile", "soxr", "scipy", "faiss-cpu", "av"),
)


def place(task: str, sources: Sequence[Path], given: Path | str | None) -> Path:
    """Where the dataset goes; refused inside a source, around one, or on top of what is no dataset."""
    if not given and sources[0].name == "-":
        raise Refused("what standard input lists has no name that the dataset could have; give one with --out DIR")
    out = located(given or f"{title(sources[0])}-{task}")
    if is_address(out) and str(out).partition("://")[0] not in WRITTEN:
        raise Refused(f"{out} cannot take a dataset shard by shard; {REMEDY}")
    if is_address(out) and set("*?[") & set(str(out)):
        raise Refused(f"{out} is no plain address; give one without *, ? and [, with --out")
    for source in sources:
        if out == source or source in out.parents:
            raise Refused(f"--out {out} lies inside the source {source}; give a folder outside of it, with --out DIR")
        if out in source.parents:
            raise Refused(f"the source {source} lies inside --out {out}; give another folder with --out DIR")
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; give a folder with --out DIR", code=4)
    if out.exists() and not _ours(out) and (strange := sorted(path.name for path in out.iterdir())):
        raise Refused(f"{out} holds something else ({strange[0]}); give a new or an empty folder with --out DIR", 4)
    return out


def _ours(out: Path) -> bool:
    """Whether the folder is a dataset's: its lock is the first thing ever made in it, then comes the manifest."""
    return (out / LOCK).exists() or (out / MANIFEST).exists()


def at_hand(out: Path, folder: Path) -> Path:
    """The local folder that holds what `fit` saved: the dataset's own, or a copy, made once, of what a store has."""
    if not is_address(out):
        return out
    near = folder / "learned"
    if near.exists():
        return near
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        (whole := Path(beside, "whole")).mkdir()
        for name in store(out).sizes(""):
            if name[0] not in "._" and name not in (CARD, PREVIEW):
                store(out).fetched(name, whole)
        try:
            whole.rename(near)
        except OSError:
            if not near.exists():  # else another worker was faster
                raise
    return near


def clear(out: Path) -> None:
    """Delete the dataset but not the lock; the manifest last, for without it nothing that is left would be trusted."""
    home, records = store(out), out / RECORDS
    home.discard(SUCCESS)
    artefacts = [name for name in home.sizes("") if name[0] not in "._" and name not in (CARD, PREVIEW)]
    for folder in ("data", *(path.name for path in out.glob(f"{WORK}*"))):
        home.empty(folder)
    made = [f"{RECORDS}/{name}" for name in home.sizes(records.name) if name != Path(LOCK).name]
    home.discard(*artefacts, *made, SKIPPED, CARD, PREVIEW)
    home.discard(MANIFEST)


def standing(out: Path, manifest: dict[str, Any], any_source: bool = False) -> dict[str, Any]:
    """The manifest of what `out` already holds, {} if nothing; refused if that is another dataset.

    With `any_source` it may be of another: its ledger is known to be part of what is asked for.
    """
    made = {path.name for path in (out / RECORDS).glob("*")} - {Path(LOCK).name, TRACE}
    if not (out / MANIFEST).exists() or not made:  # nothing learned, no shard: as when `fit` refused an option
        return {}
    before = begun(out)
    for name, new in identity_of(manifest).items():
        if before.get(name) != new and not (name == "source" and any_source):
            grows = name == "source" and not manifest["extended"] and (out / RECORDS / LEDGER).exists()
            remedy = ", --extend to add what the source gained" if grows else ""
            raise Refused(
                f"{out} holds another dataset: {difference(name, before.get(name), new)}\n"
                f"give another folder with --out DIR{remedy}, or --overwrite to delete it and start afresh",
                code=4,
            )
    return before


def begun(out: Path) -> dict[str, Any]:
    """The manifest of a dataset, be it finished or not; {} if there is none."""
    try:
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise _damaged(out / MANIFEST) from None
    return manifest


def readable(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a file of ours; refused where it is damaged."""
    try:
        return read(path)
    except (ValueError, LookupError, TypeError):
        raise _damaged(path) from None


def _damaged(path: Path) -> Refused:
    return Refused(f"{path} cannot be read; --overwrite deletes the dataset and starts afresh", code=4)


def same_versions(out: Path, before: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Refuse to finish with other packages what was begun with these: the shards would not be of one piece."""
    if before["versions"] != manifest["versions"]:
        what = difference("version", before["versions"], manifest["versions"])
        raise Refused(f"{out} was begun with other packages: {what}\ninstall those to go on, or --overwrite", code=4)


def difference(name: str, old: Any, new: Any) -> str:
    """The first difference, in words: `grid 3, not 4`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**new, **old}:
            if old.get(key) != new.get(key):
                return difference(f"{name} {key}" if name in ("source", "version") else key, old.get(key), new.get(key))
    return f"{name.replace('_', '-')} is {old!r} there and {new!r} here"


def identity_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The identity's part of a manifest."""
    apart = ("versions", "pseudolabel", "fields", "ignored", "extended", "metadata")
    return {name: value for name, value in manifest.items() if name not in apart}


def versions() -> dict[str, str | None]:
    """The installed packages whose version may change a byte."""
    found: dict[str, str | None] = {}
    for package in DECIDING:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    write_whole(out / MANIFEST, [json.dumps(manifest, indent=1), "\n"])
