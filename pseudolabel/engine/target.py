"""Target: the dataset that a command asks for, planned and compared with the dataset in OUT."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pseudolabel.contracts import RunOptions, UserError, some_of
from pseudolabel.engine.plan import Ledger, Plan
from pseudolabel.engine.progress import Progress
from pseudolabel.engine.scan import Scan, check_options, check_split, resolve_sources, scan
from pseudolabel.storage.layout import DATA, LEDGER, RECORDS, SUCCESS
from pseudolabel.storage.stores import store
from pseudolabel.tasks.base.task import Task
from pseudolabel.writers import source_columns
from pseudolabel.writers.manifest import (
    FORMAT,
    check_versions,
    existing_manifest,
    read_manifest,
    read_or_refuse,
    versions,
    write_manifest,
)
from pseudolabel.writers.output_folder import clear_output, resolve_output
from pseudolabel.writers.shards import Records
from pseudolabel.writers.source_columns import SourceColumns


@dataclass(frozen=True)
class Target:
    """A dataset to make: its task, its options and its planned source."""

    task: Task
    options: RunOptions
    out: Path
    scan: Scan
    before: Ledger | None  # extents of the existing dataset, if its shards stay

    @property
    def manifest(self) -> dict[str, Any]:
        """Return the manifest that a run begins with."""
        found, extended = self.scan, self.before is not None
        source = {"files": found.files, "bytes": found.plan.weight, "keys and sizes": found.plan.digest}
        ignored = {"ignored": sum(found.ignored.values()), "ignored_suffixes": found.ignored}
        warnings = {"warnings": list(found.warnings)} if found.warnings else {}
        return {
            "pseudolabel": 1,
            "format": FORMAT,
            **identity(self.task, source, found.source_columns, self.options),
            **ignored,
            **warnings,
            "extended": extended,
            "fields": asdict(self.task),
            "versions": versions(self.task),
        }

    def is_complete(self) -> bool:
        """Return whether the dataset is finished and no shard is missing."""
        signed = not self.options.overwrite and (self.out / SUCCESS).exists()
        return signed and not missing_shards(self.out, self.scan.plan)

    def begin(self, progress: Progress) -> None:
        """Prepare OUT and mark the dataset as unfinished. Raise `UserError` if OUT holds another dataset."""
        if self.options.overwrite:
            clear_output(self.out)
        before = existing_manifest(self.out, self.manifest, any_source=self.before is not None)
        if before:
            check_versions(self.out, before, self.manifest)
        store(self.out).discard(SUCCESS)
        write_manifest(self.out, self.manifest)
        (self.out / DATA).mkdir(exist_ok=True)
        for warning in self.scan.warnings:
            progress.note(f"warning: {warning}")
        least = self.task.min_shard_extents()
        if self.before is not None and 0 < self.before.new < least:
            progress.note(
                f"only {self.before.new} new files or parts of files: {self.task.name} combines samples, "
                f"so some rows may be lacking; add at least {least} at once"
            )


def resolve_target(task: Task, source: Path | str | Sequence[Path | str], options: RunOptions) -> Target:
    """Plan the dataset that a command asks for. Raise `UserError` if the source of the dataset in OUT was changed."""
    sources = resolve_sources(source)
    out = resolve_output(task.name, sources, options.out)
    task = task.resolve(sources)
    before = load_ledger(out, options)
    found = scan(task, sources, options, before)
    check_options(task, found)
    check_split(found, options.validation)
    if before is not None:
        check_source(out, before, options.extend)
    if not options.overwrite:
        source_columns.check_metadata(out, read_manifest(out), found.source_columns)
    return Target(task, options, out, found, before)


def load_ledger(out: Path, options: RunOptions) -> Ledger | None:
    """Return the ledger of the dataset in `out` if this run or an earlier one extends the dataset, else None."""
    if options.overwrite:
        return None
    path, extended = out / RECORDS / LEDGER, read_manifest(out).get("extended", False)
    if path.exists():
        return read_or_refuse(path, Ledger) if options.extend or extended else None
    if extended:
        raise UserError(f"{path} is missing, so its shards are unknown; add --overwrite to start again", code=4)
    return None


def check_source(out: Path, before: Ledger, extend: bool) -> None:
    """Raise `UserError` if the source lost or changed files of the dataset, or gained files without `--extend`."""
    lost = [*before.changed, *before.lost]
    if lost:
        raise UserError(
            f"{out} was made from files that are changed or gone: {some_of(lost, 3)}\n"
            "restore them, give another folder with --out DIR, or add --overwrite to start again",
            code=4,
        )
    if before.new and not extend:
        raise UserError(
            f"the source gained {before.new:,} files or parts of files; --extend adds them to {out}", code=4
        )


def missing_shards(out: Path, plan: Plan, shards: Sequence[int] | None = None) -> list[int]:
    """Return the shards that are missing, incomplete, or made of other extents."""
    shards = range(len(plan)) if shards is None else shards
    return [i for i, record in zip(shards, Records(out).done(shards, plan.digests), strict=True) if record is None]


def identity(task: Task, source: dict[str, Any], carried: SourceColumns, options: RunOptions) -> dict[str, Any]:
    """Return the entries that identify the dataset. Workers, dates and the path of the source are not among them."""
    names = ("seed", "shard_size", "copies", "limit", "validation", "in_order", "keep")
    chosen = {name: getattr(options, name) for name in names}
    made = {"task": task.name, "options": dict(task.options()), **chosen, "source": source, **carried.as_manifest}
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]
