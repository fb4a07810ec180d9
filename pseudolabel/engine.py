"""The run: plan the shards, learn what must be learned, make the shards that are missing, and sign the whole."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from pseudolabel import kept
from pseudolabel.addresses import located
from pseudolabel.attempt import Attempt
from pseudolabel.dataset import Dataset
from pseudolabel.folder import (
    KEPT,
    LISTING,
    RECORDS,
    SUCCESS,
    begun,
    clear,
    place,
    same_versions,
    standing,
    versions,
    write_manifest,
)
from pseudolabel.kept import Kept
from pseudolabel.listing import Listing, freeze, thaw
from pseudolabel.options import RunOptions
from pseudolabel.progress import Progress
from pseudolabel.sample import Refused
from pseudolabel.shards import Records
from pseudolabel.signing import Summary, finished, sign, told
from pseudolabel.source import Scan, resolve, scan
from pseudolabel.stores import LOCK, store
from pseudolabel.tasks.base import Task


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
    if not options.overwrite:
        kept.check_rows(out, begun(out), found.kept)
    manifest, every = opening(task, found, options, before), range(len(found.plan))
    if (out / SUCCESS).exists() and not options.overwrite and not missing(out, every):  # no lock: nothing is made
        return finished(task, out, standing(out, manifest))
    with store(out).locked(progress.note) as ours:
        begin(out, manifest, options, before)
        lacking = missing(out, every)
        if lacking or only_plan:
            most = max(1, len(lacking))
            with Attempt(task, options, found.plan, found.kept, out, progress, most, ours) as attempt:
                attempt.learn()
                if not only_plan:
                    attempt.make(lacking)
        if only_plan:
            found.kept.freeze(out / RECORDS / KEPT)
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
    return {"pseudolabel": 1, **identity(task, source, found.kept, options), **more}


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


def identity(task: Task, source: dict[str, Any], carried: Kept, options: RunOptions) -> dict[str, Any]:
    """What makes it this dataset and no other: not the workers, nor dates, nor where the source lies."""
    names = ("seed", "shard_size", "copies", "limit", "validation", "in_order", "keep")
    chosen = {name: getattr(options, name) for name in names}
    made = {"task": task.name, "options": dict(task.options()), **chosen, "source": source, **carried.said}
    return json.loads(json.dumps(made))  # type: ignore[no-any-return]


# --- by parts --------------------------------------------------------------------------------------------------------


def make_part(task: Task, out: Path, options: RunOptions, progress: Progress, started: float) -> Summary:
    """Make every N-th shard of a frozen plan, from the I-th on, beside other processes that make the others."""
    number, count = options.share
    if not (out / RECORDS / LISTING).exists():
        raise Refused(f"{out} has no plan of which to make a part; type pseudolabel plan {task.name} ... first")
    begun_as = begun(out)
    manifest = {**identity(task, begun_as["source"], kept.signed(begun_as), options), "versions": versions()}
    before = standing(out, manifest)
    if "summary" in before and not missing(out, range(before["summary"]["shards"])):
        return finished(task, out, before)
    with store(out).locked(progress.note, options.mark) as ours:
        same_versions(out, before, manifest)
        frozen = thaw(out / RECORDS / LISTING)
        mine = range(number - 1, len(frozen), count)
        if lacking := missing(out, mine):
            carried = kept.thaw(out / RECORDS / KEPT)
            with Attempt(task, options, frozen, carried, out, progress, len(lacking), ours) as attempt:
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
        found = Scan(frozen, manifest["source"]["files"], manifest["ignored"], dataset.kept)
        options = replace(dataset.options, max_skipped=max_skipped)
        summary = sign(dataset.task, options, found, out, manifest, started, progress)
        for lock in (out / RECORDS).glob(f"{Path(LOCK).name}-*"):
            lock.unlink()
    return summary
