"""The run: plan the shards, learn what must be learned, make the shards that are missing, and sign the whole."""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import shutil
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from typer import Option

from pseudolabel import plan, workers
from pseudolabel.card import write_card
from pseudolabel.jobs import Job, Recipe
from pseudolabel.plan import MEGABYTE, Plan, Shard
from pseudolabel.progress import Progress
from pseudolabel.readers import files
from pseudolabel.readers.files import MANIFEST
from pseudolabel.sample import Extent, Refused
from pseudolabel.shards import Records, write_whole
from pseudolabel.tasks.base import Task

SUCCESS, SKIPPED, RECORDS, WORK = "_SUCCESS", "_skipped.jsonl", "_records", "_work"
DECIDING = (  # packages whose version may change a byte
    *("pseudolabel", "numpy", "pyarrow", "pillow", "opencv-python-headless", "tokenizers"),
    *("soundfile", "soxr", "scipy", "faiss-cpu", "av"),
)
DEATHS = 4  # a shard that killed so many workers, though no sample of it kills alone, ends the run


@dataclass(frozen=True)
class RunOptions:
    """What every task's command takes beside its own options."""

    out: Annotated[Path | None, Option(help="Folder of the dataset; default SOURCE-TASK in the current folder.")] = None
    seed: Annotated[int, Option(help="Seed of all chance: same seed, same bytes.")] = 0
    workers: Annotated[int, Option(min=0, help="Worker processes; 0: all cores this process may use.")] = 0
    shard_size: Annotated[int, Option(min=1, help="Most MB of source per shard.")] = 256
    copies: Annotated[int, Option(min=1, help="Rows of each sample, each with fresh chance.")] = 1
    limit: Annotated[int | None, Option(min=1, help="Use only the first N samples.")] = None
    validation: Annotated[float, Option(min=0.0, max=0.99, help="Share of the files or documents kept apart.")] = 0.0
    in_order: Annotated[bool, Option("--in-order", help="Keep the source's order instead of mixing it.")] = False
    max_skipped: Annotated[str, Option(help="Most unusable samples: a share (0.5, 5%) or a count (100).")] = "0.5"
    sample_seconds: Annotated[float, Option(min=0.1, help="Longest time for one sample before it is skipped.")] = 300.0
    overwrite: Annotated[bool, Option("--overwrite", help="Delete the dataset in --out first, if there is one.")] = False


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
    ignored: int = 0
    rows: dict[str, int] = field(default_factory=dict)
    shards: int = 0
    bytes: int = 0
    seconds: float = 0.0


def run(task: Task, source: Path | str | Sequence[Path | str], *, progress: Progress | None = None, **options: Any) -> Summary:
    """Make the dataset, or finish it, or find it finished."""
    chosen = RunOptions(**options)
    started, progress = time.monotonic(), progress or Progress(quiet=True)
    sources = resolve(source)
    out = place(task, sources, chosen)
    share_or_count(chosen.max_skipped)
    scan = Scan(task, sources, chosen)
    manifest = {"pseudolabel": 1, **identity(task, scan, chosen), "versions": versions()}
    with locked(out):
        if chosen.overwrite:
            clear(out)
        before = standing(out, manifest)
        records = Records(out)
        missing = [i for i in range(len(scan.plan)) if records.done(i) is None]
        if before.get("finished") and not missing:
            return Summary(**{**before["summary"], "out": str(out), "status": "already finished"})
        if before:
            same_versions(out, before, manifest)
        for name in ("data", RECORDS):
            (out / name).mkdir(exist_ok=True)
        (out / SUCCESS).unlink(missing_ok=True)
        write_manifest(out, {**manifest, "finished": False})
        Run(task, chosen, scan, out, progress).make(missing)
        return finish(task, chosen, scan, out, manifest, started)


# --- the source ------------------------------------------------------------------------------------------------------


def resolve(source: Path | str | Sequence[Path | str]) -> list[Path]:
    """The sources, absolute, existing and of different names."""
    given = [source] if isinstance(source, str | Path) else list(source)
    sources = [Path(os.path.abspath(path)) for path in given]
    files.check(sources)
    return sources


class Scan:
    """The source as planned: its shards, and how many files were no candidates."""

    def __init__(self, task: Task, sources: Sequence[Path], options: RunOptions) -> None:
        self.ignored = self.files = 0
        self._task, self._sources = task, sources
        extents = self._extents()
        ordered = plan.in_source_order(extents) if options.in_order else plan.in_random_order(extents, options.seed)
        if options.limit is not None:
            ordered = self._limited(ordered, options.limit)
        self.plan = Plan(plan.cut(ordered, options.shard_size))
        if not len(self.plan):
            wanted = " ".join(sorted(task.reader().suffixes))
            names = " ".join(str(path) for path in sources)
            raise Refused(f"nothing to read in {names}: none of {self.ignored} files ends in {wanted}", code=5)

    def _extents(self) -> Iterator[Extent]:
        reader = self._task.reader()
        for file in files.find(self._sources, reader.suffixes):
            if file.candidate:
                self.files += 1
                yield from reader.scan(file.key, file.path, file.size)
            else:
                self.ignored += 1

    def _limited(self, extents: Iterator[Extent], limit: int) -> Iterator[Extent]:
        reader = self._task.reader()
        for extent in extents:
            first, count = reader.first(extent, limit)
            yield first
            limit -= count
            if limit <= 0:
                return


# --- the folder ------------------------------------------------------------------------------------------------------


def place(task: Task, sources: Sequence[Path], options: RunOptions) -> Path:
    """Where the dataset goes; refused inside a source, around one, or on top of something that is no dataset of ours."""
    out = Path(os.path.abspath(options.out or f"{sources[0].name}-{task.name}"))
    for source in sources:
        if out == source or source in out.parents:
            raise Refused(f"--out {out} lies inside the source {source}; give a folder outside of it, with --out DIR")
        if out in source.parents:
            raise Refused(f"the source {source} lies inside --out {out}; give another folder with --out DIR")
    if out.exists() and not out.is_dir():
        raise Refused(f"{out} is a file; give a folder with --out DIR", code=4)
    strange = [path.name for path in out.iterdir() if path.name not in (RECORDS, WORK)] if out.exists() else []
    if strange and not (out / MANIFEST).exists():
        raise Refused(f"{out} holds something else ({sorted(strange)[0]}); give an empty or a new folder with --out DIR", 4)
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
        raise Refused(f"{out} is unfinished and was begun with other packages: {what}\ninstall those, or --overwrite", code=4)


def difference(name: str, old: Any, new: Any) -> str:
    """The first difference, in words: `grid 3, not 4`."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            if old.get(key) != new.get(key):
                return difference(f"{name} {key}" if name in ("source", "version") else key, old.get(key), new.get(key))
    return f"{name.replace('_', '-')} is {old!r} there and {new!r} here"


# --- what a dataset is -----------------------------------------------------------------------------------------------


def identity(task: Task, scan: Scan, options: RunOptions) -> dict[str, Any]:
    """What makes it this dataset and no other: not the workers, nor dates, nor where the source lies."""
    source = {"files": scan.files, "bytes": scan.plan.weight, "keys and sizes": scan.plan.digest}
    chosen = {name: getattr(options, name) for name in ("seed", "shard_size", "copies", "limit", "validation", "in_order")}
    return json.loads(json.dumps({"task": task.name, "options": dict(task.options()), **chosen, "source": source}))  # type: ignore[no-any-return]


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


# --- the work --------------------------------------------------------------------------------------------------------


class Run:
    """One attempt at the missing shards, with a folder of its own below `_work/`."""

    def __init__(self, task: Task, options: RunOptions, scan: Scan, out: Path, progress: Progress) -> None:
        self.task, self.options, self.scan, self.out, self.progress = task, options, scan, out, progress
        self.records = Records(out)
        self.deaths = Deaths(out / RECORDS / "deaths.json")
        for left in sorted((out / WORK).glob("*")):  # of runs that were killed: we hold the lock
            self.deaths.harvest(left)
            shutil.rmtree(left)
        self.folder = out / WORK / f"{os.getpid()}-{time.time_ns()}"
        self.folder.mkdir(parents=True)
        self.recipe = Recipe(task, options.seed, options.copies, options.validation, out, self.folder)

    def make(self, missing: Sequence[int]) -> None:
        """Learn, then make the missing shards. However it ends, nothing half made is left behind."""
        count = min(self.options.workers or workers.cores(), max(1, len(missing)))
        try:
            with workers.Pool(self.recipe, count, self.options.sample_seconds) as pool:
                self.learn(pool)
                self.progress.start(self.scan.plan, [self.records.done(i) for i in range(len(self.scan.plan))])
                self.drive(pool, (Job("make", self.scan.plan[i]) for i in missing))
        finally:
            self.progress.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            shutil.rmtree(self.out / WORK, ignore_errors=True)

    def learn(self, pool: workers.Pool) -> None:
        """Fit once; what was learned stays with the dataset, and a rerun finds it."""
        artefacts = self.records.folder / "artefacts.json"
        if artefacts.exists():
            return
        if self.task.learns():
            everything = (extent for shard in self.scan.plan for extent in shard.extents)
            shown = plan.lightest_by_hash(everything, self.task.observed_megabytes)
            self.progress.note(f"learning from {sum(extent.weight for extent in shown) / MEGABYTE:.0f} MB of the source")
            self.drive(pool, (Job("observe", Shard(i, part)) for i, part in enumerate(plan.cut(shown, 1))))
        made = self.drive(pool, iter([Job("fit", Shard(0, []))]))
        write_whole(artefacts, json.dumps(made[0], indent=1))

    def drive(self, pool: workers.Pool, jobs: Iterator[Job]) -> list[Any]:
        """Run jobs to their end, through deaths; return what those other than `make` gave."""
        again: deque[Job] = deque()
        jobs = (self.warned(job, again) for job in jobs)
        results = []
        for event in pool.events(again, jobs):
            match event:
                case workers.Progress():
                    self.progress.add(event)
                case workers.Failed():
                    raise self.failure(event)
                case workers.Done(job=Job(kind="try")):
                    self.deaths.acquit(event.job.shard)
                case workers.Done():
                    self.progress.done(event)
                    results.append(event.result if event.job.kind == "fit" else None)
                case workers.Died():
                    self.search(event, again)
        return results

    def warned(self, job: Job, again: deque[Job]) -> Job:
        """The job with the exceptions known; a suspect of earlier runs is tried alone before its shard."""
        job = job._replace(exceptions=self.deaths.exceptions)
        suspect = self.deaths.suspect(job.shard) if job.kind == "make" else None
        if suspect is None:
            return job
        again.append(job)
        return Job("try", Shard(job.shard.index, [suspect]), self.deaths.exceptions)

    def search(self, death: workers.Died, again: deque[Job]) -> None:
        """A worker died: try what it was on alone, then the shard again. What kills alone becomes an exception."""
        self.progress.lost(death)
        job, status = death.job, death.status
        if job.kind == "try" and status is not None:
            self.deaths.convict(status.key, death.reason)
            self.progress.note(f"left out: {status.key} {death.reason}")
            for i, waiting in enumerate(again):
                again[i] = waiting._replace(exceptions=self.deaths.exceptions)
            return
        if job.kind == "fit" or self.deaths.count(job) >= DEATHS:
            where = f"shard {job.shard.index}, {status.key}" if status else f"{job.kind}"
            raise Refused(f"{where} {death.reason} {DEATHS} times; give it more memory, or fewer --workers, and rerun", code=1)
        retry = job._replace(exceptions=self.deaths.exceptions)
        extent = next((e for e in job.shard.extents if status and e.key == status.extent), None)
        again.appendleft(retry)
        if extent is not None:
            again.appendleft(Job("try", Shard(job.shard.index, [extent]), self.deaths.exceptions))

    def failure(self, event: workers.Failed) -> BaseException:
        """The error to end with; the trace of a bug is kept beside the dataset for the report."""
        if isinstance(event.error, OSError | Refused):
            return event.error
        trace = self.records.folder / "error.txt"
        trace.write_text(event.trace, "utf-8")
        return Refused(f"internal error in shard {event.job.shard.index}: {event.error}\nplease report it with {trace}", code=1)


class Deaths:
    """Who is known to kill, who is suspected: kept on disk, for where the kernel takes the whole container."""

    def __init__(self, path: Path) -> None:
        self._path = path
        known = json.loads(path.read_text("utf-8")) if path.exists() else {}
        self.exceptions: dict[str, str] = known.get("exceptions", {})  # key -> reason
        self._open: dict[str, list[list[str]]] = known.get("open", {})  # shard -> [kind, extent, key] per dead run
        self._counts: Counter[tuple[str, int]] = Counter()

    def count(self, job: Job) -> int:
        """How often this job has killed its worker in this run, this time included."""
        self._counts[job.kind, job.shard.index] += 1
        return self._counts[job.kind, job.shard.index]

    def convict(self, key: str, reason: str) -> None:
        """From now on this sample is skipped, with that reason."""
        self.exceptions = {**self.exceptions, key: reason}
        self._write()

    def harvest(self, folder: Path) -> None:
        """Note what the workers of a dead run were on."""
        for file in sorted(folder.glob("worker-*.json")):
            status = workers.read_status(file)
            if status is not None and status.extent and status.kind in ("make", "try"):
                self._open.setdefault(str(status.shard), []).append([status.kind, status.extent, status.key])
        for seen in self._open.values():
            alone = [key for kind, _, key in seen if kind == "try"]
            for key in {key for key in alone if alone.count(key) >= 2}:
                self.exceptions[key] = "ended two runs when it was alone"
        self._write()

    def suspect(self, shard: Shard) -> Extent | None:
        """The extent a shard was last on, if it was open in two runs that died."""
        seen = self._open.get(str(shard.index), [])
        if len(seen) < 2 or seen[-1][2] in self.exceptions:
            return None
        return next((extent for extent in shard.extents if extent.key == seen[-1][1]), None)

    def acquit(self, shard: Shard) -> None:
        """The suspect lived through it alone."""
        if self._open.pop(str(shard.index), None):
            self._write()

    def _write(self) -> None:
        write_whole(self._path, json.dumps({"exceptions": self.exceptions, "open": self._open}, indent=1))


# --- the end ---------------------------------------------------------------------------------------------------------


def finish(task: Task, options: RunOptions, scan: Scan, out: Path, manifest: dict[str, Any], started: float) -> Summary:
    """Assemble what the records say, check it, and sign: `_SUCCESS` comes last."""
    records, total, rows = Records(out), Counter[str](), Counter[str]()
    shards, size = [], 0
    for index in range(len(scan.plan)):
        record = records.done(index)
        assert record is not None, f"shard {index} was reported done and is not there"
        total.update({name: record[name] for name in ("seen", "used", "skipped", "filtered", "cut")})
        for file in record["files"]:
            rows[file["split"]] += file["rows"]
            size += file["bytes"]
            shards.append(file)
    summary = Summary(
        str(out), task.name, "finished", **total, ignored=scan.ignored, rows=dict(rows),
        shards=len(scan.plan), bytes=size, seconds=round(time.monotonic() - started, 1),
    )  # fmt: skip
    with (out / f"{SKIPPED}.tmp").open("w", encoding="utf-8") as file:
        file.writelines(records.skipped(len(scan.plan)))
    (out / f"{SKIPPED}.tmp").replace(out / SKIPPED)
    deaths = Deaths(records.folder / "deaths.json")
    artefacts = json.loads((records.folder / "artefacts.json").read_text("utf-8"))
    manifest = {**manifest, "artefacts": artefacts, "exceptions": deaths.exceptions, "summary": asdict(summary), "shards": shards}
    write_manifest(out, {**manifest, "finished": False})
    judge(summary, options, out)
    write_card(out / "README.md", task, manifest)
    write_manifest(out, {**manifest, "finished": True})
    write_whole(out / SUCCESS, "")
    return summary


def judge(summary: Summary, options: RunOptions, out: Path) -> None:
    """Refuse to sign what lost samples, has too few of them, or no row."""
    if summary.seen != summary.used + summary.skipped + summary.filtered:
        raise Refused(f"{out}: {summary.seen} samples seen do not equal those used, skipped and filtered", code=3)
    limit, share = share_or_count(options.max_skipped)
    if summary.skipped > (limit * summary.seen if share else limit):
        raise Refused(
            f"{summary.skipped} of {summary.seen} samples are unusable, more than --max-skipped {options.max_skipped} allows\n"
            f"see {out / SKIPPED}; to accept them, run again with a larger --max-skipped",
            code=3,
        )
    if not sum(summary.rows.values()):
        raise Refused(f"no row could be made of {summary.seen} samples; see {out / SKIPPED}", code=3)


def share_or_count(text: str) -> tuple[float, bool]:
    """`0.5` and `50%` -> (0.5, True), a share; `100` -> (100, False), a count."""
    try:
        if text.endswith("%"):
            limit, share = float(text[:-1]) / 100, True
        else:
            limit, share = float(text), "." in text
    except ValueError:
        limit, share = -1.0, False
    if limit < 0 or (share and limit > 1):
        raise Refused(f"--max-skipped {text} is neither a share (0.5, 5%) nor a count (100)")
    return limit, share
