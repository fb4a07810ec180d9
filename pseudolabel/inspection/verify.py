"""Verify a dataset: its files against the manifest, and the label of every row, with or without the source."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from pseudolabel.contracts import Skipped, UnusableSample, UserError, decoding_errors, or_skipped, usable_cores
from pseudolabel.engine.jobs import Job, NoHeartbeat
from pseudolabel.engine.plan import Ledger, Shard
from pseudolabel.engine.pools.events import Died, Done, Failed, Progressed
from pseudolabel.engine.pools.local import LocalPool
from pseudolabel.engine.progress import Progress
from pseudolabel.engine.scan import Scan, resolve_sources, scan
from pseudolabel.inspection.findings import Findings
from pseudolabel.inspection.manifest_check import check_folder, known_failures
from pseudolabel.inspection.opened import spec_of
from pseudolabel.inspection.verify_shard import verify_shard
from pseudolabel.storage.layout import LEDGER, RECORDS
from pseudolabel.tasks import Task
from pseudolabel.writers.dataset import Dataset, open_dataset
from pseudolabel.writers.manifest import FORMAT, first_difference, format_of, versions
from pseudolabel.writers.source_columns import SourceColumns


@dataclass
class Verification:
    """The result of `verify`, as `--json` prints it."""

    out: str
    task: str
    against: str  # the sources that rows were compared with; "" if rows were checked alone
    checked: int
    true: int
    consistent: int
    false: int
    faults: list[dict[str, str]]  # where, reason; the first `findings.MAX_NAMED` ones
    other_faults: int  # those that belong to no stored row
    remark: str  # why rows may differ although nobody changed them

    @property
    def has_no_fault(self) -> bool:
        return not self.false and not self.other_faults

    @property
    def verdict(self) -> str:
        """Return the result as a sentence."""
        if not self.has_no_fault:
            return f"{self.false:,} of {self.checked:,} rows are false; other faults: {self.other_faults:,}"
        if not self.consistent:
            return f"all {self.checked:,} rows are true"
        more = "" if self.against else "; --against SOURCE proves them"
        return f"no fault; the labels of {self.consistent:,} rows are consistent, but not proven{more}"


def verify(
    out: Path | str,
    against: Path | str | Sequence[Path | str] = (),
    *,
    workers: int = 0,
    progress: Progress | None = None,
) -> Verification:
    """Check files, then rows. A row is true if its label is proven, consistent if the row alone shows no fault.

    With `against`, check each label with the source, and make each row again. `workers=1` uses this process alone.

    To prove labels of images and videos (boxes, rotations, orders, times), apply each label to the source again,
    without randomness and without the task's own code. Masks must have the count and shape that the options set.
    Codes, clusters and text rows are made again by the code that made them. This shows that nothing was changed, not
    that the code is correct; the tests check the code.
    """
    dataset = open_dataset(out)
    if against and format_of(dataset.manifest) != FORMAT:
        raise UserError(
            f"{out} has format {format_of(dataset.manifest)}: rows that this version makes from its source differ\n"
            "leave out --against to check the rows alone, or make the dataset again with --overwrite"
        )
    sources = resolve_sources(against) if against else []
    task = dataset.task.resolve(sources) if sources else dataset.task
    findings = Findings()
    records = check_folder(dataset, findings)
    found = _scan(dataset, task, sources, records, findings)
    job = Job("check", Shard(0, ()), known_failures(dataset))
    jobs = {index: job._replace(shard=found.plan[index] if found else Shard(index, ())) for index in records}
    weights = {i: r["weight"] if found else sum(file["bytes"] for file in r["files"]) for i, r in records.items()}
    kept = found.source_columns if found else dataset.source_columns
    proofs = dict(_proofs(dataset, task, kept, jobs, weights, workers, progress or Progress(quiet=True)))
    for index in sorted(proofs):
        findings.add(proofs[index])
    return Verification(
        str(dataset.out),
        dataset.task.name,
        " ".join(map(str, sources)) if found else "",
        findings.checked,
        findings.true,
        findings.consistent,
        findings.false,
        [fault._asdict() for fault in findings.faults],
        findings.other_faults,
        _remark(dataset) if found else "",
    )


def _remark(dataset: Dataset) -> str:
    """Return a remark if package versions differ: rows made again may differ. Codec differences are no fault."""
    then, now = dataset.manifest["versions"], versions(dataset.task)
    return "" if then == now else f"made with other package versions: {first_difference('version', then, now)}"


# --- the source ------------------------------------------------------------------------------------------------------


def _scan(
    dataset: Dataset, task: Task, sources: Sequence[Path], records: Mapping[int, Mapping[str, Any]], findings: Findings
) -> Scan | None:
    """Return the source as the run planned it, each file in its former shard, or None to check the rows alone."""
    if not sources:
        return None
    before, options = dataset.manifest["source"], dataset.options
    found = scan(task, sources, options)
    now = {index: digest for index, digest in enumerate(found.plan.digests) if index in records}
    then = {index: record.get("of") for index, record in records.items()}
    if (found.plan.digest, now) == (before["keys and sizes"], then):  # `--extend`: same source, other shards
        return found
    if options.limit is not None:
        findings.blame(
            "the source", "it changed, so the samples that --limit selected are unknown; only the rows were checked"
        )
        return None
    listed = or_skipped(partial(_listing, dataset, records))
    if isinstance(listed, Skipped):
        findings.blame(f"{RECORDS}/{LEDGER}", f"{listed.reason}; no row was compared with the source")
        return None
    found = scan(task, sources, options, listed)
    if len(listed.lost) == sum(listed.counts):
        findings.blame(
            "the source", "it has none of the files of the dataset; give --against the folder they came from"
        )
        return None
    for what, keys in (("has another size than before", listed.changed), ("is gone", listed.lost)):
        for key in keys:
            findings.blame("the source", f"{key} {what}")
    if listed.new:
        findings.blame("the source", f"{listed.new:,} files or parts of files are new")
    return found


def _listing(dataset: Dataset, records: Mapping[int, Mapping[str, Any]]) -> Ledger:
    """Read the list of extents. Raise `UnusableSample` if it is damaged or differs from the manifest or a record."""
    with decoding_errors("is missing or damaged"):
        listed = Ledger(dataset.out / RECORDS / LEDGER)
    if listed.digest != dataset.manifest["source"]["keys and sizes"]:
        raise UnusableSample("differs from the manifest")
    counts = dict(enumerate(listed.counts))
    if len(counts) != dataset.manifest["summary"]["shards"] or any(counts[i] != records[i]["extents"] for i in records):
        raise UnusableSample("differs from the shards' records")
    return listed


# --- workers ---------------------------------------------------------------------------------------------------------


def _proofs(
    dataset: Dataset,
    task: Task,
    kept: SourceColumns,
    jobs: dict[int, Job],
    weights: dict[int, int],
    count: int,
    progress: Progress,
) -> Iterator[tuple[int, Findings]]:
    """Yield the index and the findings of each shard, from workers, or from this process if `count` is 1."""
    options = dataset.options
    proof = partial(verify_shard, exact=dataset.manifest["versions"] == versions(task))
    with tempfile.TemporaryDirectory() as work:
        spec = replace(spec_of(dataset, task, kept), work=Path(work))
        progress.start(sum(weights.values()))
        try:
            found: Iterator[tuple[int, Findings]]
            if count == 1:
                found = ((index, proof(spec, job, NoHeartbeat())) for index, job in jobs.items())
            else:
                pool = LocalPool(spec, min(count or usable_cores(), len(jobs)), options.sample_seconds, proof)
                found = _there(pool, iter(jobs.values()), progress)
            for index, findings in found:
                progress.settle(index, weights[index], findings.checked, findings.false)
                yield index, findings
        finally:
            progress.stop()


def _there(pool: LocalPool, jobs: Iterator[Job], progress: Progress) -> Iterator[tuple[int, Findings]]:
    with pool:
        for event in pool.events(deque(), jobs):
            match event:
                case Progressed():
                    progress.add(event)
                case Failed():
                    if isinstance(event.error, OSError | UserError):
                        raise event.error
                    raise UserError(f"internal error in shard {event.job.shard.index}: {event.error}\n{event.trace}", 1)
                case Died():
                    lost = Findings()
                    on = f"{event.status.key or event.status.extent} " if event.status else "it "
                    lost.blame(f"shard {event.job.shard.index}", f"could not be checked: {on}{event.reason}")
                    yield event.job.shard.index, lost
                case Done():
                    yield event.job.shard.index, event.result
