"""The output folder: whose it is, what it holds, and when it may be written to."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pseudolabel.readers.files import MANIFEST
from pseudolabel.sample import Refused
from pseudolabel.shards import write_whole

RECORDS, WORK = "_records", "_work"
DECIDING = (  # packages whose version may change a byte
    *("pseudolabel", "numpy", "pyarrow", "pillow", "opencv-python-headless", "tokenizers"),
    *("soundfile", "soxr", "scipy", "faiss-cpu", "av"),
)


def place(task: str, sources: Sequence[Path], given: Path | None) -> Path:
    """Where the dataset goes; refused inside a source, around one, or on top of what is no dataset."""
    out = Path(os.path.abspath(given or f"{sources[0].name}-{task}"))
    for source in sources:
        if out == source or source in out.parents:
            raise Refused(f"--out {out} lies inside the source {source}; give a folder outside of it, with --out DIR")
        if out in source.parents:
            raise Refused(f"the source {source} lies inside --out {out}; give another folder with --out DIR")
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; give a folder with --out DIR", code=4)
    strange = [path.name for path in out.iterdir() if path.name not in (RECORDS, WORK)] if out.exists() else []
    if strange and not (out / MANIFEST).exists():
        raise Refused(
            f"{out} holds something else ({sorted(strange)[0]}); give an empty or a new folder with --out DIR", 4
        )
    return out


@contextmanager
def locked(out: Path) -> Iterator[None]:
    """Hold the folder alone. The lock goes with the process, however that ends."""
    made = not out.exists()
    (out / RECORDS).mkdir(parents=True, exist_ok=True)
    with (out / RECORDS / "lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(f"another run is at work on {out}; wait for it, or give another --out DIR", code=4) from None
        try:
            yield
        finally:
            if made and not (out / MANIFEST).exists():
                shutil.rmtree(out)


def clear(out: Path) -> None:
    """Delete the dataset, all but the lock that is held; `place` has made sure that it is one."""
    for path in [*out.iterdir(), *(out / RECORDS).iterdir()]:
        if path.name not in (RECORDS, "lock"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def standing(out: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of what `out` already holds, {} if nothing; refused if that is another dataset."""
    if not (out / MANIFEST).exists():
        return {}
    before: dict[str, Any] = json.loads((out / MANIFEST).read_text("utf-8"))
    for name, new in identity_of(manifest).items():
        if before.get(name) != new:
            raise Refused(
                f"{out} holds another dataset: {difference(name, before.get(name), new)}\n"
                "give another folder with --out DIR, or --overwrite to delete it and start afresh",
                code=4,
            )
    return before


def same_versions(out: Path, before: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Refuse to finish with other packages what was begun with these: the shards would not be of one piece."""
    if before["versions"] != manifest["versions"]:
        what = difference("version", before["versions"], manifest["versions"])
        raise Refused(
            f"{out} is unfinished and was begun with other packages: {what}\ninstall those, or --overwrite", code=4
        )


def difference(name: str, old: Any, new: Any) -> str:
    """The first difference, in words: `grid 3, not 4`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**new, **old}:
            if old.get(key) != new.get(key):
                return difference(f"{name} {key}" if name in ("source", "version") else key, old.get(key), new.get(key))
    return f"{name.replace('_', '-')} is {old!r} there and {new!r} here"


def identity_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The identity's part of a manifest."""
    return {name: value for name, value in manifest.items() if name not in ("versions", "pseudolabel")}


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
    write_whole(out / MANIFEST, json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
