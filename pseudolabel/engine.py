"""The run: plan the shards, learn what must be learned, make the shards that are missing, and sign the whole."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pseudolabel.addresses import located
from pseudolabel.attempt import Attempt
from pseudolabel.card import write_card
from pseudolabel.dataset import Dataset
from pseudolabel.deaths import Deaths
from pseudolabel.folder import (
    ARTEFACTS,
    CARD,
    LISTING,
    RECORDS,
    SKIPPED,
    SUCCESS,
    at_hand,
    begun,
    clear,
    place,
    same_versions,
    standing,
    versions,
    write_manifest,
)
from pseudolabel.listing import Listing, freeze, thaw
from pseudolabel.options import RunOptions, share_or_count
from pseudolabel.progress import Progress
from pseudolabel.sample import Refused
from pseudolabel.shards import Records, write_whole
from pseudolabel.source import Scan, resolve, scan
from pseudolabel.stores import LOCK, store
from pseudolabel.tasks.base import Task


@dataclass
class Summary:
    """What a run says at its end, and `--json` prints."""

    out: str
    task: str
    status: str  # "finished", or "already finished"
    seen: int = 0
    used: int = 0
    skipped: int = 0
    filtered: int = 0
    cut: int = 0
    lacking: int = 0
    ignored: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    shards: int = 0
    bytes: int = 0
    seconds: float = 0.0
    report: dict[str, float] = field(default_factory=dict)  # what the task tells of its labels


def run(
    task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any
) -> Summary:
    """Make the dataset, or finish it, or find it finished."""
    return _made(task, source, RunOptions(**options), progress or Progress(quiet=True), only_plan=False)


def plan_parts(
    task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any
) -> Summary:
    """List the source and learn what must be learned, once, for parts to be made anywhere; `finish` comes last."""
    chosen = RunOptions(**options)
    if chosen.part:
        raise Refused("plan comes before all parts; give --part to the task's command")
    return _made(task, source, chosen, progress or Progress(quiet=True), only_plan=True)


def _made(
    task: Task, source: Path | str | Sequence[Path | str], options: RunOptions, progress: Progress, only_plan: bool
) -> Summary:
    started, sources = time.monotonic(), resolve(source)
    out = place(task.name, sources, options.out)
    task = task.settled(sources)
    if options.part:
        return make_part(task, out, options, progress, started)
    before = listed(out, options)
    found = scan(task, sources, options, before)
    if before is not None:
        same_source(out, before, options.extend)
    manifest, every = opening(task, found, options, before), range(len(found.plan))
    if (out / SUCCESS).exists() and not options.overwrite and not missing(out, every):  # no lock: nothing is made
        return finished(task, out, standing(out, manifest))
    with store(out).locked(progress.note) as ours:
        begin(out, manifest, options, before)
        lacking = missing(out, every)
        if lacking or only_plan:
            with Attempt(task, options, found.plan, out, progress, max(1, len(lacking)), ours) as attempt:
                attempt.learn()
                if not only_plan:
                    attempt.make(lacking)
        if only_plan:
            freeze(out / RECORDS / LISTING, found.plan, places=True)
            then = f"planned; make --part 1/N to N/N, and then pseudolabel finish {out}"
            return told(task, out, then, every, started)
        return sign(task, options, found, out, manifest, started, progress)


def listed(out: Path, options: RunOptions) -> Listing | None:
    """What the dataset was made of, if it is to be extended, or was: that keeps its shards, and new ones follow."""
    path = out / RECORDS / LISTING
    if options.overwrite or not path.exists():
        return None
    return Listing(path) if options.extend or begun(out).get("extended") else None


def opening(task: Task, found: Scan, options: RunOptions, before: Listing | None) -> dict[str, Any]:
    """The manifest that a run begins with."""
    source = {"files": found.files, "bytes": found.plan.weight, "keys and sizes": found.plan.digest}
    more = {"ignored": found.ignored, "extended": before is not None, "fields": asdict(task), "versions": versions()}
    return {"pseudolabel": 1, **identity(task, source, options), **more}


def same_source(out: Path, before: Listing, extend: bool) -> None:
    """Refuse a source that lost or changed what the dataset was made of, or that gained what it is not to have."""
    lost = [*before.changed, *before.lost]
    if lost:
        named = ", ".join(lost[:3]) + (f" and {len(lost) - 3:,} more" if len(lost) > 3 else "")
        raise Refused(
            f"{out} was made of what is changed or gone: {named}\n"
            "put it back, or give another folder with --out DIR, or --overwrite to start afresh",
            code=4,
        )
    if before.new and not extend:
        raise Refused(f"the source gained {before.new:,} files or pieces of files; --extend adds them to {out}", code=4)


def begin(out: Path, manifest: dict[str, Any], options: RunOptions, listing: Listing | None) -> None:
    """Have the folder be that of this dataset, and of no other; it is unfinished from here on."""
    if options.overwrite:
        clear(out)
    finished = listing is not None and begun(out)["source"]["keys and sizes"] == listing.digest
    before = standing(out, manifest, any_source=finished)
    if before:
        same_versions(out, before, manifest)
    write_manifest(out, manifest)
    (out / SUCCESS).unlink(missing_ok=True)
    (out / "data").mkdir(exist_ok=True)


def missing(out: Path, shards: Sequence[int]) -> list[int]:
    """Those of the shards that are not there, or not whole."""
    return [index for index, record in zip(shards, Records(out).done(shards), strict=True) if record is None]


def identity(task: Task, source: dict[str, Any], options: RunOptions) -> dict[str, Any]:
    """What makes it this dataset and no other: not the workers, nor dates, nor where the source lies."""
    chosen = {
        name: getattr(options, name) for name in ("seed", "shard_size", "copies", "limit", "validation", "in_order")
    }
    return json.loads(json.dumps({"task": task.name, "options": dict(task.options()), **chosen, "source": source}))  # type: ignore[no-any-return]


def finished(task: Task, out: Path, manifest: dict[str, Any]) -> Summary:
    """The summary of a run that had nothing to do."""
    with TemporaryDirectory() as folder:
        report = dict(task.report(out, at_hand(out, Path(folder))))
    return Summary(**{**manifest["summary"], "out": str(out), "status": "already finished", "report": report})


# --- by parts --------------------------------------------------------------------------------------------------------


def make_part(task: Task, out: Path, options: RunOptions, progress: Progress, started: float) -> Summary:
    """Make every N-th shard of a frozen plan, from the I-th on, beside other processes that make the others."""
    number, count = options.share
    if not (out / RECORDS / LISTING).exists():
        raise Refused(f"{out} has no plan of which to make a part; type pseudolabel plan {task.name} ... first")
    manifest = {**identity(task, begun(out)["source"], options), "versions": versions()}
    before = standing(out, manifest)
    if "summary" in before and not missing(out, range(before["summary"]["shards"])):
        return finished(task, out, before)
    with store(out).locked(progress.note, options.mark) as ours:
        same_versions(out, before, manifest)
        frozen = thaw(out / RECORDS / LISTING)
        mine = range(number - 1, len(frozen), count)
        if lacking := missing(out, mine):
            with Attempt(task, options, frozen, out, progress, len(lacking), ours) as attempt:
                attempt.make(lacking)
    return told(task, out, f"part {number} of {count} is made", mine, started)


def finish(out: Path | str, *, max_skipped: str = RunOptions.max_skipped, progress: Progress | None = None) -> Summary:
    """Check that all parts of a planned dataset are there, and write what comes last."""
    out, started, progress = located(out), time.monotonic(), progress or Progress(quiet=True)
    manifest = begun(out)
    if not manifest or not (out / RECORDS / LISTING).exists():
        raise Refused(f"{out} was not planned; give the folder that pseudolabel plan began")
    dataset = Dataset(out, manifest)
    if (out / SUCCESS).exists():
        return finished(dataset.task, out, manifest)
    with store(out).locked(progress.note):
        frozen = thaw(out / RECORDS / LISTING)
        if lacking := missing(out, range(len(frozen))):
            named = ", ".join(map(str, lacking[:8])) + (", ..." if len(lacking) > 8 else "")
            raise Refused(
                f"{len(lacking)} of {len(frozen)} shards are not made: {named}\n"
                "run the parts that did not end well again, then finish",
                code=3,
            )
        found = Scan(frozen, manifest["source"]["files"], manifest["ignored"])
        options = replace(dataset.options, max_skipped=max_skipped)
        summary = sign(dataset.task, options, found, out, manifest, started, progress)
        for lock in (out / RECORDS).glob(f"{Path(LOCK).name}-*"):
            lock.unlink()
    return summary


def told(task: Task, out: Path, status: str, shards: Sequence[int], started: float) -> Summary:
    """The summary of a step that does not finish the dataset, of the shards that it was about."""
    seconds = round(time.monotonic() - started, 1)
    made = [record for record in Records(out).done(shards) if record]
    return Summary(str(out), task.name, status, **counted(made), shards=len(shards), seconds=seconds)


def counted(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """The counts of these shards, and their rows by split, and bytes."""
    total, rows, size = Counter[str](), Counter[str](), 0
    for record in records:
        total.update({name: record[name] for name in ("seen", "used", "skipped", "filtered", "cut", "lacking")})
        rows.update({file["split"]: file["rows"] for file in record["files"]})
        size += sum(file["bytes"] for file in record["files"])
    return {**total, "rows": dict(rows), "bytes": size}


# --- the end ---------------------------------------------------------------------------------------------------------


def sign(
    task: Task,
    options: RunOptions,
    found: Scan,
    out: Path,
    manifest: dict[str, Any],
    started: float,
    progress: Progress,
) -> Summary:
    """Assemble what the records say, check it, and sign: `_SUCCESS` comes last."""
    records, count = Records(out), len(found.plan)
    made = [record for record in records.done(range(count)) if record]
    assert len(made) == count, f"{count - len(made)} shards were reported done and are not there"
    summary = Summary(
        str(out), task.name, "finished", **counted(made), ignored=found.ignored, shards=count,
        seconds=round(time.monotonic() - started, 1),
        report={},  # told anew by each run, as it asks
    )  # fmt: skip
    write_whole(out / SKIPPED, records.skipped(count))
    reading, labelling = Deaths.of(records.folder, "").exceptions
    exceptions = {**reading, **labelling}
    artefacts = json.loads((records.folder / ARTEFACTS).read_text("utf-8"))
    with TemporaryDirectory() as folder:
        near = at_hand(out, Path(folder))
        remarks, report = list(task.remarks(near)), dict(task.report(out, near))
    for remark in remarks:
        progress.note(remark)
    manifest = {
        **manifest,
        "artefacts": artefacts,
        "remarks": remarks,
        "exceptions": exceptions,
        "summary": asdict(summary),
        "shards": [file for record in made for file in record["files"]],
    }
    write_manifest(out, manifest)
    judge(summary, options, out)
    freeze(records.folder / LISTING, found.plan, places=False)
    write_card(out / CARD, task, manifest)
    write_whole(out / SUCCESS, [])
    return replace(summary, report=report)


def judge(summary: Summary, options: RunOptions, out: Path) -> None:
    """Refuse to sign what lost samples, has too few of them, or no row."""
    if summary.seen != summary.used + summary.skipped + summary.filtered:
        raise Refused(f"{out}: {summary.seen} samples seen do not equal those used, skipped and filtered", code=3)
    limit, share = share_or_count(options.max_skipped)
    if summary.skipped > (limit * summary.seen if share else limit):
        raise Refused(
            f"{summary.skipped} of {summary.seen} samples are unusable, above --max-skipped {options.max_skipped}\n"
            f"see {out / SKIPPED}; run again with a larger --max-skipped, or mend them and run with --overwrite",
            code=3,
        )
    if not sum(summary.rows.values()):
        raise Refused(f"no row could be made of {summary.seen} samples; see {out / SKIPPED}", code=3)
