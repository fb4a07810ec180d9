"""Manifest: read, write and compare it, and find the package versions that may change the bytes of a dataset."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pseudolabel.contracts import T, UserError
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import LEDGER, LOCK, MANIFEST, RECORDS, TRACE
from pseudolabel.tasks import Task, plugins

VERSIONED_PACKAGES = (  # packages whose version may change the bytes of a shard
    *("pseudolabel", "numpy", "pyarrow", "pillow", "opencv-python-headless", "tokenizers"),
    *("soundfile", "soxr", "scipy", "faiss-cpu", "av", "simplejpeg"),
)
FORMAT = 2  # a version that makes other rows of the same source increases it; a manifest without "format" has format 1


def existing_manifest(out: Path, manifest: dict[str, Any], any_source: bool = False) -> dict[str, Any]:
    """Return the manifest of the dataset in `out`, {} if there is none. Raise `UserError` if `out` has another dataset.

    With `any_source` the sources may differ: the caller compares the source with the ledger.
    """
    made = {path.name for path in (out / RECORDS).glob("*")} - {Path(LOCK).name, TRACE}
    if not (out / MANIFEST).exists() or not made:  # nothing is made yet, for example because `fit` raised an error
        return {}
    before = read_manifest(out)
    for name, new in identity_of(manifest).items():
        if before.get(name) != new and not (name == "source" and any_source):
            grows = name == "source" and not manifest["extended"] and (out / RECORDS / LEDGER).exists()
            remedy = ", --extend to add the new files" if grows else ""
            raise UserError(
                f"{out} holds another dataset: {first_difference(name, before.get(name), new)}\n"
                f"give another folder with --out DIR{remedy}, or --overwrite to delete the dataset and start again",
                code=4,
            )
    return before


def read_manifest(out: Path) -> dict[str, Any]:
    """Return the manifest of a dataset, finished or not; {} if there is none. Raise `UserError` if it is not JSON."""
    try:
        return read_or_refuse(out / MANIFEST, lambda path: json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return {}


def read_or_refuse(path: Path, read: Callable[[Path], T]) -> T:
    """Return `read(path)`. Raise `UserError` if the file is damaged."""
    try:
        return read(path)
    except (ValueError, LookupError, TypeError):
        remedy = "make the dataset again with --overwrite, which deletes it first"
        raise UserError(f"{path} is damaged; {remedy}", code=4) from None


def format_of(manifest: Mapping[str, Any]) -> Any:
    """Return the format of a dataset."""
    return manifest.get("format", 1)


def check_format(out: Path, before: Mapping[str, Any]) -> None:
    """Raise `UserError` if the dataset was begun in another format."""
    if format_of(before) != FORMAT:
        raise UserError(
            f"{out} has format {format_of(before)}, but this version makes format {FORMAT}, with other rows\n"
            "complete the dataset with the version that began it, or make it again with --overwrite",
            code=4,
        )


def check_versions(out: Path, before: dict[str, Any], manifest: dict[str, Any]) -> None:
    """Raise `UserError` if the dataset was begun in another format or with other packages: its shards could differ."""
    check_format(out, before)
    if before["versions"] != manifest["versions"]:
        what = first_difference("version", before["versions"], manifest["versions"])
        raise UserError(
            f"{out} was made with other packages: {what}\n"
            "install the versions of the dataset, or make it again with --overwrite",
            code=4,
        )


def first_difference(name: str, old: Any, new: Any) -> str:
    """Return the first difference in words: `grid is 3, not 4`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**new, **old}:
            if old.get(key) != new.get(key):
                return first_difference(
                    f"{name} {key}" if name in ("source", "version") else key, old.get(key), new.get(key)
                )
    return f"{name.replace('_', '-')} is {old!r}, not {new!r}"


def identity_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a manifest that identify the dataset."""
    apart = ("format", "versions", "pseudolabel", "fields", "ignored", "ignored_suffixes", "warnings", "extended")
    return {name: value for name, value in manifest.items() if name not in (*apart, "metadata")}


def versions(task: Task) -> dict[str, str | None]:
    """Return package -> version for VERSIONED_PACKAGES and the package of the task; None if not installed."""
    return {package: _version(package) for package in (*VERSIONED_PACKAGES, *_packages_of(type(task)))}


@cache
def _packages_of(task: type[Task]) -> list[str]:
    """Return a list with the name of the package that declares the task; [] if it is one of ours or not installed."""
    root = task.__module__.partition(".")[0]
    if root == "pseudolabel":
        return []
    return [plugin.dist.name for plugin in plugins() if plugin.dist and plugin.module.partition(".")[0] == root][:1]


@cache
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_manifest(out: Path, manifest: dict[str, Any]) -> None:
    write_atomic(out / MANIFEST, [json.dumps(manifest, indent=1), "\n"])
