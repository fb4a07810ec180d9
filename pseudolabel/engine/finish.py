"""End of a run: add up the shard records, check the counts, and write the manifest, the card and `_SUCCESS`."""

from __future__ import annotations

import json
import textwrap
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pseudolabel.contracts import RunOptions, UserError, share_or_count, shorten, split_remedy
from pseudolabel.engine.make_shard import Counts
from pseudolabel.engine.plan import Plan, save_plan
from pseudolabel.engine.pools.crashes import CrashLog
from pseudolabel.engine.progress import Progress
from pseudolabel.engine.scan import Scan
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import (
    ARTEFACTS,
    AUDIT,
    CARD,
    DATA,
    LEDGER,
    LOCK,
    PLAN,
    RECORDS,
    SKIPPED,
    SOURCE_COLUMNS,
    SUCCESS,
    WORK,
)
from pseudolabel.storage.lock import CheckLock
from pseudolabel.storage.stores import parquet_source, store
from pseudolabel.tasks.base.task import Task
from pseudolabel.writers.card import write_card
from pseudolabel.writers.manifest import read_or_refuse, write_manifest
from pseudolabel.writers.output_folder import local_artefacts
from pseudolabel.writers.shards import Records
from pseudolabel.writers.skip_reasons import count_reasons
from pseudolabel.writers.source_columns import SourceColumns

MAX_UNKNOWN_SHARE = 0.05  # share of [UNK] above which a run warns
UNKNOWN_REMEDY = "the tokenizer does not know them; give a --tokenizer that does, or a larger --vocab-size"


@dataclass
class Summary:
    """The summary that a run returns and `--json` prints."""

    out: str
    task: str
    status: str  # "finished", "already finished", or the state after a plan or a part
    seen: int = 0
    used: int = 0
    skipped: int = 0
    filtered: int = 0
    cut: int = 0
    missing_rows: int = 0
    ignored: int = 0
    ignored_suffixes: dict[str, int] = field(default_factory=dict)  # the most frequent ones
    rows: dict[str, int] = field(default_factory=dict)
    validation: dict[str, float] = field(default_factory=dict)  # share of the rows
    unknown_share: float | None = None  # share of [UNK] in the tokens of text; None without tokens
    shards: int = 0
    bytes: int = 0
    seconds: float = 0.0


def warn_unknown(share: float | None) -> str | None:
    """Return a warning if the share of [UNK] is too large."""
    large = share is not None and share > MAX_UNKNOWN_SHARE
    return f"{share:.1%} of the tokens of text are [UNK]: {UNKNOWN_REMEDY}" if large else None


def finish_run(
    task: Task,
    options: RunOptions,
    found: Scan,
    out: Path,
    manifest: dict[str, Any],
    started: float,
    progress: Progress,
    check_lock: CheckLock,
) -> Summary:
    """Add up the shard records, check them, and write `_SUCCESS` last. `check_lock` raises if the lock is lost."""
    records, count = Records(out), len(found.plan)
    made = [record for record in records.done(range(count), found.plan.digests) if record]
    assert len(made) == count, f"{count - len(made)} shards were reported done but are missing"
    summary = Summary(
        str(out), task.name, "finished", **total_counts(made), ignored=sum(found.ignored.values()),
        ignored_suffixes=dict(found.ignored), shards=count, seconds=round(time.monotonic() - started, 1),
    )  # fmt: skip
    if options.validation:
        reached = summary.rows.get("validation", 0) / max(1, sum(summary.rows.values()))
        summary.validation = {"asked": options.validation, "reached": round(reached, 4)}
    write_atomic(out / SKIPPED, records.read_skips(count))
    exceptions = CrashLog.of(records.folder, "").exceptions
    artefacts = read_or_refuse(records.folder / ARTEFACTS, lambda path: json.loads(path.read_text("utf-8")))
    with TemporaryDirectory() as folder:
        near = local_artefacts(out, Path(folder))
        remarks = list(task.description.notes(task, near))
    if warning := warn_unknown(summary.unknown_share):
        remarks.append(f"warning: {warning}")
    if options.validation and not summary.rows.get("validation"):
        remarks.append(
            f"warning: --validation {options.validation:g} drew no row; give a larger share, or a larger source"
        )
    for name in _null_columns(out, made, found.source_columns) if summary.rows else ():
        remarks.append(f"warning: the source has no value of `{name}` for any row")
    for remark in remarks:
        progress.note(remark)
    remarks += [f"warning: {warning}" for warning in found.warnings]  # noted when the run began
    manifest = {
        **manifest,
        "artefacts": artefacts,
        "remarks": remarks,
        "exceptions": exceptions._asdict(),
        "summary": asdict(summary),
        "shards": [file for record in made for file in record["files"]],
    }
    store(out).fsync(DATA, RECORDS)
    check_lock()
    sweep(out, count, {file["name"] for file in manifest["shards"]})
    write_manifest(out, manifest)
    check_counts(summary, options, out)
    save_plan(records.folder / LEDGER, found.plan, places=False)
    store(out).discard(AUDIT)  # of the rows before this run
    write_card(out / CARD, task, manifest)
    check_lock()
    write_atomic(out / SUCCESS, [])
    tidy(out)
    return summary


def _null_columns(out: Path, records: Sequence[Mapping[str, Any]], kept: SourceColumns) -> list[str]:
    """Return the source columns that are null in every row. Read footers of shards until each column has a value."""
    import pyarrow.parquet as pq

    left = [column.name for column in kept.columns]
    for name in (file["name"] for record in records for file in record["files"]):
        if not left:
            break
        with pq.ParquetFile(parquet_source(out / DATA / name)) as file:
            places = {column.path: place for place, column in enumerate(file.schema)}
            groups = [file.metadata.row_group(group) for group in range(file.num_row_groups)]
            nulls = {one: sum(group.column(places[one]).statistics.null_count for group in groups) for one in left}
            left = [one for one in left if nulls[one] == file.metadata.num_rows]
    return left


def sweep(out: Path, count: int, named: set[str]) -> None:
    """Delete files that belong to no shard of the plan. An earlier attempt made them before the source changed."""
    home = store(out)
    stray = [f"{DATA}/{name}" for name in home.sizes(DATA) if name not in named]
    shards = (name for name in home.sizes(RECORDS) if name[:5].isdecimal() and int(name.partition(".")[0]) >= count)
    home.discard(*stray, *(f"{RECORDS}/{name}" for name in shards))


def tidy(out: Path) -> None:
    """Delete the plan, the locks of parts and the work folders, which a finished dataset does not need."""
    home = store(out)
    locks = [name for name in home.sizes(RECORDS) if name.startswith(f"{Path(LOCK).name}-")]
    home.discard(*(f"{RECORDS}/{name}" for name in (PLAN, SOURCE_COLUMNS, *locks)))
    for folder in out.glob(f"{WORK}*"):
        home.empty(folder.name)


def check_counts(summary: Summary, options: RunOptions, out: Path) -> None:
    """Raise `UserError` if samples are lost, too many are unusable, or there is no row."""
    if summary.seen != summary.used + summary.skipped + summary.filtered:
        raise UserError(f"{out}: used + skipped + filtered != {summary.seen} samples seen; please report it", code=3)
    limit, share = share_or_count(options.max_skipped)
    if summary.skipped > (limit * summary.seen if share else limit):
        wrong = f"{summary.skipped} of {summary.seen} samples are unusable"
        raise _too_few(wrong, out, "skipped", f", or give a --max-skipped above {options.max_skipped}")
    if not sum(summary.rows.values()):
        raise _too_few(f"no row could be made from {summary.seen} samples", out)


def _too_few(wrong: str, out: Path, kind: str = "", otherwise: str = "") -> UserError:
    """Return an error that adds to `wrong` the most frequent reason of this kind ("": of any) and its remedy."""
    with (out / SKIPPED).open(encoding="utf-8") as lines:
        found = count_reasons(line for line in map(json.loads, lines) if kind in line["kind"])
    remedy = "give other files"
    if found:
        most = found[0]
        reason = textwrap.shorten(split_remedy(most.text)[0], 48, placeholder=" ...")
        wrong, remedy = f"{wrong}, {most.count:,} because: {reason} ({shorten(most.key)})", most.remedy
    again = f"{remedy}, and make the dataset again with --overwrite"
    return UserError(f"{wrong}\n{again}\nsee {out / SKIPPED}{otherwise}", code=3)


def finished_summary(out: Path, manifest: dict[str, Any]) -> Summary:
    """Return the summary of a run on a dataset that is finished already."""
    if manifest["summary"].keys() != asdict(Summary("", "", "")).keys():
        raise UserError(f"{out} was made by a development version; make it again with --overwrite", 4)
    return Summary(**{**manifest["summary"], "out": str(out), "status": "already finished"})


def step_summary(task: Task, out: Path, status: str, plan: Plan, shards: Sequence[int], started: float) -> Summary:
    """Return the summary of a step that does not finish the dataset; it counts only `shards`."""
    seconds = round(time.monotonic() - started, 1)
    made = [record for record in Records(out).done(shards, plan.digests) if record]
    return Summary(str(out), task.name, status, **total_counts(made), shards=len(shards), seconds=seconds)


def total_counts(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the sums over shard records: counts of samples, rows by split, the share of [UNK], and bytes."""

    def total(name: str) -> int:
        return sum(record[name] for record in records)

    rows, files = Counter[str](), [file for record in records for file in record["files"]]
    for file in files:
        rows[file["split"]] += file["rows"]
    return {
        **{name: total(name) for name in ("seen", "used", "skipped", "filtered", "cut", "missing_rows")},
        "rows": dict(rows),
        "unknown_share": Counts(tokens=total("tokens"), unknown=total("unknown")).unknown_share,
        "bytes": sum(file["bytes"] for file in files),
    }
