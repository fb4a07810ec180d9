"""Check of a dataset's folder against its manifest, its shards' records and its list of skipped samples."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from pseudolabel.contracts import UnusableSample
from pseudolabel.engine.finish import total_counts
from pseudolabel.engine.jobs import KnownFailures
from pseudolabel.engine.pools.crashes import CrashLog
from pseudolabel.inspection.findings import Findings
from pseudolabel.storage.files import file_sha256
from pseudolabel.storage.layout import CRASHES, DATA, MANIFEST, RECORDS, SKIPPED
from pseudolabel.storage.retry import StoreFailure
from pseudolabel.writers.dataset import RECORD_SHAPE, Dataset, read_json
from pseudolabel.writers.shards import Records

SKIPPED_SHAPE = {"key": str, "reason": str, "kind": str, "samples": int}


def check_folder(dataset: Dataset, findings: Findings) -> dict[int, dict[str, Any]]:
    """Check the folder against its manifest. Return the records of the shards whose files all exist, by index."""
    out, manifest, summary = dataset.out, dataset.manifest, dataset.manifest["summary"]
    signed = {file["name"] for file in manifest["shards"]}
    there = {path.name for path in (out / DATA).glob("*")}
    for name in sorted(signed - there):
        findings.blame(f"{DATA}/{name}", "missing, although the manifest lists it")
    for name in sorted(there - signed):
        findings.blame(f"{DATA}/{name}", "not in the manifest: it belongs to another run, or to no dataset")
    for name, fault in artefact_faults(out, manifest["artefacts"]):
        findings.blame(name, fault)
    check_options(dataset, findings)
    records = {i: record for i, record in enumerate(_records(out, summary["shards"], findings)) if record}
    if len(records) == summary["shards"]:
        _counts(dataset, list(records.values()), findings)
    _check_skip_list(dataset, findings)
    return {index: record for index, record in records.items() if all(f["name"] in there for f in record["files"])}


def artefact_faults(folder: Path, listed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the artefacts that are missing or changed, and which of both. `listed`: name -> SHA-256."""
    for name, sha256 in listed.items():
        if not (folder / name).is_file():
            yield name, "missing, although the manifest lists it"
        elif file_sha256(folder / name) != sha256:
            yield name, "its sha256 differs from the manifest"


def known_failures(dataset: Dataset) -> KnownFailures:
    """Return the exceptions of the manifest or, before the dataset is finished, those that its parts found."""
    if (every := dataset.manifest.get("exceptions")) is not None:
        return KnownFailures(**every)
    found = [CrashLog(path).exceptions for path in sorted((dataset.out / RECORDS).glob(CRASHES.format("*")))]
    return KnownFailures(*({key: why for one in found for key, why in one[at].items()} for at in (0, 1)))


def read_skipped(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a list of skipped samples. Raise `UnusableSample` if the file or a line is damaged."""
    return (read_json(path, SKIPPED_SHAPE, line) for line in _guard(_lines(path)))


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as lines:
        yield from lines


def _guard(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines. Raise `UnusableSample` if the file is missing or damaged."""
    try:
        yield from lines
    except StoreFailure:
        raise
    except (OSError, ValueError):
        raise UnusableSample("it is missing or damaged") from None


def _records(out: Path, count: int, findings: Findings) -> Iterator[dict[str, Any]]:
    """Yield the record of each shard, or {} if it is missing or damaged."""
    records = Records(out)
    for index, said in enumerate(records.read(map(records.path, range(count)))):
        path = records.path(index)
        try:
            yield read_json(path, RECORD_SHAPE, said or b"")
        except UnusableSample as fault:
            findings.blame(f"{RECORDS}/{path.name}", f"the shard's record {fault}")
            yield {}


def check_options(dataset: Dataset, findings: Findings) -> None:
    """Check that the options in the manifest follow from its fields."""
    try:
        now = json.loads(json.dumps(dict(dataset.task.options())))
    except OSError:  # the file of an option is gone, so its checksum cannot be computed
        return
    then = dataset.manifest["options"]
    # `fit` may add tokens to its copy of a tokenizer, so the copy may have another checksum than the given file
    copied = {f"{name}{end}" for name in dataset.task.artefact_copies for end in ("", "_sha256")}
    wrong = [name for name in {**now, **then} if name not in copied and now.get(name) != then.get(name)]
    if wrong:
        findings.blame(MANIFEST, f"its options do not match its fields: {', '.join(wrong)}")


def _counts(dataset: Dataset, records: Sequence[Mapping[str, Any]], findings: Findings) -> None:
    """Check that the records of all shards add up to the manifest's summary."""
    summary, total = dataset.manifest["summary"], total_counts(records)
    if [file for record in records for file in record["files"]] != list(dataset.manifest["shards"]):
        findings.blame(RECORDS, "the shards' records and the manifest differ in their lists of files")
    if total["seen"] != total["used"] + total["skipped"] + total["filtered"]:
        findings.blame(RECORDS, "samples seen are not the sum of used, skipped and filtered")
    if wrong := [name for name in total if total[name] != summary.get(name)]:
        findings.blame(RECORDS, f"the shards' records do not add up to the manifest's summary: {', '.join(wrong)}")


def _check_skip_list(dataset: Dataset, findings: Findings) -> None:
    """Check that the list of skipped samples has the lines of the shards' lists and the counts of the summary."""
    summary, path, counts = dataset.manifest["summary"], dataset.out / SKIPPED, Counter[str]()
    shards = Records(dataset.out).read_skips(summary["shards"])
    try:
        for number, (one, other) in enumerate(zip_longest(_guard(_lines(path)), _guard(shards)), 1):
            if one != other:
                raise UnusableSample(f"line {number} differs from the shards' records")
            line = read_json(path, SKIPPED_SHAPE, one)
            counts.update({line["kind"]: line["samples"], "lacking": line.get("rows", 0)})
    except UnusableSample as fault:
        findings.blame(SKIPPED, str(fault))
        return
    for name in ("skipped", "filtered", "lacking"):
        if counts[name] != summary[name]:
            findings.blame(SKIPPED, f"it lists {counts[name]} {name}, but the manifest counts {summary[name]}")
