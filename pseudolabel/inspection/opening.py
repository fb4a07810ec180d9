"""Open a dataset: check that its folder and its source are those of its manifest."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from pathlib import Path

from pseudolabel.contracts import Extent, UserError
from pseudolabel.engine.parts import load_frozen_plan
from pseudolabel.engine.plan import Ledger, Plan, load_plan
from pseudolabel.engine.scan import resolve_sources, scan
from pseudolabel.inspection.findings import Findings
from pseudolabel.inspection.manifest_check import artefact_faults, check_options
from pseudolabel.inspection.opened import RESTORE, OpenDataset, check_schema, lack_of_source, spec_of
from pseudolabel.storage.layout import ARTEFACTS, LEDGER, PLAN, RECORDS, SOURCE_COLUMNS, SUCCESS
from pseudolabel.storage.urls import is_url
from pseudolabel.tasks import Task
from pseudolabel.writers.dataset import Dataset, open_dataset
from pseudolabel.writers.manifest import FORMAT, first_difference, format_of, read_or_refuse, versions
from pseudolabel.writers.source_columns import SourceColumns, load_columns


def open(out: Path | str, source: Path | str | Sequence[Path | str] | None = None) -> OpenDataset:
    """Open a finished dataset, or one that `pseudolabel plan` planned.

    `source` is needed to render rows that are not stored, except while a dataset is planned and not finished: then its
    plan has the places of the files. Raise `UserError` if files of the source are missing, changed or new, or if files
    of the folder contradict others.
    """
    dataset = open_dataset(out, unfinished=True)
    _check_folder(dataset)
    if source is None:
        return _open_alone(dataset)
    _check_same_program(dataset)
    sources = resolve_sources(source)
    task = dataset.task.resolve(sources)
    return OpenDataset(dataset, task, *_scan_again(dataset, task, sources))


def _check_folder(dataset: Dataset) -> None:
    """Raise `UserError` if the options, the artefacts or the first data file are not those of the manifest."""
    out, manifest, findings = dataset.out, dataset.manifest, Findings()
    check_options(dataset, findings)
    if findings.faults:
        raise UserError(f"{out / findings.faults[0].where}: {findings.faults[0].reason}; {RESTORE}", 4)
    listed = out / RECORDS / ARTEFACTS
    if "artefacts" not in manifest and not listed.exists():
        raise UserError(f"{out} was begun, but not planned; run `pseudolabel plan` with the command that began it", 3)
    made = manifest.get("artefacts") or read_or_refuse(listed, lambda path: json.loads(path.read_text("utf-8")))
    for name, fault in artefact_faults(dataset.artefacts, made):
        raise UserError(f"{out / name}: {fault}; {RESTORE}", 4)
    if shards := manifest.get("shards"):
        check_schema(spec_of(dataset, dataset.task, dataset.source_columns), shards[0]["name"])


def _check_same_program(dataset: Dataset) -> None:
    """Raise `UserError` if this version makes other rows. Warn if other versions of packages may."""
    if format_of(dataset.manifest) != FORMAT:
        raise UserError(
            f"{dataset.out} has format {format_of(dataset.manifest)}, but this version makes rows of format {FORMAT}\n"
            "leave out the source to read what is stored, or install the version that made it"
        )
    then, now = dataset.manifest["versions"], versions(dataset.task)
    if then != now:
        what = first_difference("version", then, now)
        warnings.warn(f"{dataset.out} was made with other packages ({what}): rendered rows may differ", stacklevel=4)


def _open_alone(dataset: Dataset) -> OpenDataset:
    """Open a planned dataset with the source that its plan names, or a finished one without a source."""
    out, records = dataset.out, dataset.out / RECORDS
    if (records / PLAN).exists() and not (out / SUCCESS).exists():
        _check_same_program(dataset)
        plan = load_frozen_plan(out, PLAN)
        _check_files(dataset, plan)
        return OpenDataset(dataset, dataset.task, plan, read_or_refuse(records / SOURCE_COLUMNS, load_columns))
    if not (records / LEDGER).exists():
        raise lack_of_source(out)
    plan = read_or_refuse(records / LEDGER, load_plan)
    return OpenDataset(dataset, dataset.task, plan, dataset.source_columns, has_source=False)


def _scan_again(dataset: Dataset, task: Task, sources: Sequence[Path]) -> tuple[Plan, SourceColumns]:
    """Plan the source again. Raise `UserError`, with the names of files, if it is not the one of the dataset."""
    before, options, extended = dataset.manifest["source"], dataset.options, dataset.manifest.get("extended", False)
    found = None if extended else scan(task, sources, options)
    if found is None or found.plan.digest != before["keys and sizes"]:
        lists = [path for name in (LEDGER, PLAN) if (path := dataset.out / RECORDS / name).exists()]
        listed = read_or_refuse(lists[0], Ledger) if lists else None
        found = scan(task, sources, options, listed) if listed else found
        assert found is not None
        if listed:
            _refuse("has another size than before", listed.changed, dataset)
            _refuse("is missing", listed.lost, dataset)
            if listed.new and options.limit is None:
                raise UserError(
                    f"the source gained {listed.new:,} files or parts of files after {dataset.out}; remove them", 4
                )
        if found.plan.digest != before["keys and sizes"]:
            raise UserError(f"the source is not that of {dataset.out}: other keys or sizes; give the one it has", 4)
    then = {name: dataset.manifest.get(name) for name in ("kept", "metadata") if name in dataset.manifest}
    if (now := json.loads(json.dumps(found.source_columns.as_manifest))) != then:
        raise UserError(
            f"the metadata of the source is not that of {dataset.out}: {first_difference('', then, now)}; "
            "give the source that it was made of",
            4,
        )
    return found.plan, found.source_columns


def _refuse(what: str, keys: Sequence[str], dataset: Dataset) -> None:
    """Raise `UserError` if there are keys: `what` is wrong with these files of the source."""
    if keys:
        more = f" (and {len(keys) - 1:,} other files)" if len(keys) > 1 else ""
        raise UserError(f"{keys[0]} {what}{more}; give the source that {dataset.out} was made of", 4)


def _check_files(dataset: Dataset, plan: Plan) -> None:
    """Raise `UserError` if files that the plan names on this machine's disks are missing or have other sizes."""
    missing, changed, stops = list[str](), list[str](), dict[str, Extent]()
    for shard in plan:
        for extent in shard.extents:
            path = extent.where.partition("\0")[0]
            if not path or is_url(path):
                continue
            try:
                size = os.stat(path).st_size
            except OSError:
                missing.append(extent.key)
                continue
            if extent.where == path and extent.key == extent.file and size != extent.weight:
                changed.append(extent.key)
            elif extent.where == path and extent.stop and extent.stop - extent.start == extent.weight:  # of bytes
                if size < extent.stop:
                    changed.append(extent.key)
                elif path not in stops or extent.stop > (stops[path].stop or 0):
                    stops[path] = extent
    if dataset.options.limit is None:
        changed += [one.key for path, one in stops.items() if os.stat(path).st_size != one.stop]
    _refuse("is missing", missing, dataset)
    _refuse("has another size than before", changed, dataset)
