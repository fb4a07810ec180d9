"""The manifest: read, written and compared; and the packages whose version may change bytes."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pseudolabel.contracts import T, UserError
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import LEDGER, LOCK, MANIFEST, RECORDS, TRACE

VERSIONED_PACKAGES = (  # packages whose version may change a byte
    *("pseudolabel", "numpy", "pyarrow", "pillow", "opencv-python-headless", "tokenizers"),
    *("soundfile", "soxr", "scipy", "faiss-cpu", "av"),
)


def existing_manifest(out: Path, manifest: dict[str, Any], any_source: bool = False) -> dict[str, Any]:
    """The manifest of what `out` already holds, {} if nothing; refused if that is another dataset.

    With `any_source` it may be of another: its ledger is known to be part of what is asked for.
    """
    made = {path.name for path in (out / RECORDS).glob("*")} - {Path(LOCK).name, TRACE}
    if not (out / MANIFEST).exists() or not made:  # nothing learned, no shard: as when `fit` refused an option
        return {}
    before = read_manifest(out)
    for name, new in identity_of(manifest).items():
        if before.get(name) != new and not (name == "source" and any_source):
            grows = name == "source" and not manifest["extended"] and (out / RECORDS / LEDGER).exists()
            remedy = ", --extend to add what the source gained" if grows else ""
            raise UserError(
                f"{out} holds another dataset: {first_difference(name, before.get(name), new)}\n"
                f"give another folder with --out DIR{remedy}, or --overwrite to delete it and start afresh",
                code=4,
            )
    return before


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a dataset, be it finished or not; {} if there is none."""
    try:
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError:
        raise _damaged(out / MANIFEST) from None
    return manifest


def read_or_refuse(path: Path, read: Callable[[Path], T]) -> T:
    """What `read` makes of a file of ours; refused where it is damaged."""
    try:
        return read(path)
    except (ValueError, LookupError, TypeError):
        raise _damaged(path) from None


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} cannot be read; --overwrite deletes the dataset and starts afresh", code=4)


def check_versions(out: Path, before: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Refuse to finish with other packages what was begun with these: the shards would not be of one piece."""
    if before["versions"] != manifest["versions"]:
        what = first_difference("version", before["versions"], manifest["versions"])
        raise UserError(f"{out} was begun with other packages: {what}\ninstall those to go on, or --overwrite", code=4)


def first_difference(name: str, old: Any, new: Any) -> str:
    """The first difference, in words: `grid 3, not 4`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**new, **old}:
            if old.get(key) != new.get(key):
                return first_difference(
                    f"{name} {key}" if name in ("source", "version") else key, old.get(key), new.get(key)
                )
    return f"{name.replace('_', '-')} is {old!r} there and {new!r} here"


def identity_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """The identity's part of a manifest."""
    apart = ("versions", "pseudolabel", "fields", "ignored", "extended", "metadata")
    return {name: value for name, value in manifest.items() if name not in apart}


def versions() -> dict[str, str | None]:
    """The installed packages whose version may change a byte."""
    found: dict[str, str | None] = {}
    for package in VERSIONED_PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = None
    return found


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    write_atomic(out / MANIFEST, [json.dumps(manifest, indent=1), "\n"])
