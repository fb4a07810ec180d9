"""Scan of the source: its files, their shards, and the sample that `fit` sees."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, chain
from math import ceil
from pathlib import Path

from pseudolabel.contracts import Extent, RunOptions, UserError
from pseudolabel.engine import plan
from pseudolabel.engine.plan import Ledger, Plan, Shard
from pseudolabel.readers.metadata.matching import FileKeys
from pseudolabel.readers.sources import files
from pseudolabel.readers.sources.file_lists import open_list
from pseudolabel.readers.sources.order import Order, Ranked, external_sort, random_order, sort_extents, source_order
from pseudolabel.readers.text.reader import OPTION_FORMATS, TextReader
from pseudolabel.storage.urls import open_location
from pseudolabel.tasks.base.modalities import nothing_to_read
from pseudolabel.tasks.base.task import Reader, Task
from pseudolabel.writers import source_columns
from pseudolabel.writers.source_columns import SourceColumns

MAX_NAMED_SUFFIXES = 20  # suffixes of ignored files that a summary names
MAX_COUNTED_SUFFIXES = 10_000  # suffixes counted, so that memory does not grow with the source
OTHER_SUFFIXES = "of other suffixes"
CANDIDATES, WHOLE = "", "\0"  # keys of counts that are no suffixes


def resolve_sources(source: Path | str | Sequence[Path | str]) -> list[Path]:
    """Return the paths and URLs of the sources. Raise `UserError` if one is missing or no path, or if two clash."""
    given = list(source) if isinstance(source, Iterable) and not isinstance(source, str | bytes) else [source]
    for one in given:
        if not isinstance(one, str | Path):
            raise UserError(f"the source is {one!r}; give a path or a URL as str or Path, or a list of them")
    if not given:
        raise UserError("the list of sources is empty; give a path or a URL")
    sources = [open_list(path) or open_location(path) for path in given]
    files.check_sources(sources)
    return sources


@dataclass
class Scan:
    """A planned source: its shards, the number of files with a wanted suffix, and the ignored files by suffix.

    `warnings`: what is perhaps not as intended. `whole`: the number of text files that are not divided among splits.
    `unused`: the options for formats of text that are given, but have no effect on any file.
    """

    plan: Plan
    files: int
    ignored: Mapping[str, int]
    source_columns: SourceColumns
    warnings: Sequence[str] = ()
    whole: int = 0
    unused: Sequence[str] = ()


def scan(task: Task, sources: Sequence[Path], options: RunOptions, before: Ledger | None = None) -> Scan:
    """Plan the source. With `before`, its extents stay in their shards, and new extents go to new shards."""
    carried = source_columns.plan_columns(task, sources, options.keep)
    counts, keys, reader = Counter({CANDIDATES: 0, WHOLE: 0}), FileKeys(), task.reader()
    unused = reader.given_options() if isinstance(reader, TextReader) else set()
    extents = _extents(reader, sources, options.seed, counts, carried, keys, unused)
    order = source_order if options.in_order else random_order(options.seed)
    cut = partial(plan.cut_into_shards, cap=options.shard_size, least=task.min_shard_extents())
    if before is not None:
        shards = _grown(extents, order, before, cut)
    else:
        ordered = sort_extents(extents, order)
        shards = cut(ordered if options.limit is None else _limit(reader, ordered, options.limit))
    made = Plan(shards)  # this lists the whole source and completes `counts`, `keys` and `unused`
    whole, candidates = counts.pop(WHOLE), counts.pop(CANDIDATES)
    ignored = _most_frequent(counts)
    warning = json_warning(reader, ignored)
    if not len(made):
        if warning:
            raise UserError(f"nothing to read in {' '.join(map(str, sources))}\n{warning}", code=5)
        raise nothing_to_read(task, sources, ignored)
    carried, unmatched = carried.match(keys)
    warnings = [warning, *unmatched] if warning else unmatched
    return Scan(made, candidates, ignored, carried, warnings, whole, sorted(unused))


def json_warning(reader: Reader, ignored: Mapping[str, int]) -> str:
    """Return a warning if a task of text ignores `.json` files, which may be the corpus; else ""."""
    count = ignored.get(".json", 0) if isinstance(reader, TextReader) else 0
    remedy = "only JSON lines are; make an array into lines with jq -c '.[]' a.json > a.jsonl"
    return f"{count:,} .json files are not read: {remedy}" if count else ""


def check_options(task: Task, found: Scan) -> None:
    """Raise `UserError` if an option for some formats of text is given, but the source has no file of these."""
    for name in found.unused:
        wrong = f"--{name} {getattr(task, name)} is for {OPTION_FORMATS[name]}, but the source has none"
        raise UserError(f"{wrong}\n{json_warning(task.reader(), found.ignored) or 'leave it out'}")


def check_split(found: Scan, validation: float) -> None:
    """Raise `UserError` if no file is divided among splits and there are too few files for the share `validation`."""
    if validation and found.whole == found.files < 2 / validation:
        raise UserError(
            f"--validation {validation:g} of {found.files:,} files: each file is in one split as a whole, so at least "
            f"{ceil(2 / validation):,} are needed; give more files or a larger share, or for text --split-by document"
        )


def _extents(
    reader: Reader,
    sources: Sequence[Path],
    seed: int,
    counts: Counter[str],
    carried: SourceColumns,
    keys: FileKeys,
    unused: set[str],
) -> Iterator[Extent]:
    """Yield the extents of all candidate files. Count `CANDIDATES` and `WHOLE`, and other files under their suffix,
    except the metadata of `carried`. If there is metadata, add the keys of all files to `keys`. Remove the options of
    text from `unused` that have an effect on a file."""
    for file in files.find_files(sources, reader.suffixes):
        if carried.tables:
            keys.add(file.key)
        if not file.candidate and carried.reads(file):
            continue
        told = file.ignored_as
        counts[told if told in counts or len(counts) < MAX_COUNTED_SUFFIXES else OTHER_SUFFIXES] += 1
        if file.candidate:
            if isinstance(reader, TextReader):
                counts[WHOLE] += reader.splits_by_file(file.where)
                unused.difference_update(reader.options_of(file.where))
            yield from (extent._replace(seed=seed) for extent in reader.scan(file.key, file.where, file.size))


def _most_frequent(counts: Counter[str]) -> dict[str, int]:
    """Return the counts of the most frequent suffixes, then the sum of the others."""
    ordered = sorted(counts.items(), key=lambda one: (one[0] == OTHER_SUFFIXES, -one[1], one[0]))
    others = sum(count for _, count in ordered[MAX_NAMED_SUFFIXES:])
    return dict(ordered[:MAX_NAMED_SUFFIXES]) | ({OTHER_SUFFIXES: others} if others else {})


def _grown(
    extents: Iterable[Extent], order: Order, before: Ledger, cut: partial[Iterator[list[Extent]]]
) -> Iterator[list[Extent]]:
    """Yield the old shards without lost extents, then new shards of the new extents."""

    def ranks() -> Iterator[Ranked]:
        for extent in extents:
            place = before.place(extent)
            yield ((1, order(extent)) if place is None else (0, place)), extent

    pairs = external_sort(ranks())
    head = next(pairs, None)
    for end in accumulate(before.counts):
        shard = []
        while head and head[0] < (0, end):
            shard.append(head[1])
            head = next(pairs, None)
        yield shard
    yield from cut(extent for _, extent in chain([head] if head else [], pairs))


def _limit(reader: Reader, extents: Iterator[Extent], limit: int) -> Iterator[Extent]:
    for extent in extents:
        first, count = reader.first(extent, limit)
        yield first
        limit -= count
        if limit <= 0:
            return


def fit_sample(made: Plan, options: RunOptions) -> Iterator[Shard]:
    """Yield the source in small shards and random order, so that `fit` can stop when it has enough."""
    everything = (extent for shard in made for extent in shard.extents)
    mixed = sort_extents(everything, random_order(options.seed)) if options.in_order else everything
    return (Shard(i, part) for i, part in enumerate(plan.cut_into_shards(mixed, 1)))
