"""A dataset that is open: its stored rows, and rows that are rendered from its source."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pseudolabel.contracts import UserError, file_of, splits, whole_number
from pseudolabel.engine.jobs import Heartbeat, Job, NoHeartbeat, RunSpec
from pseudolabel.engine.make_shard import Counts, ShardReading
from pseudolabel.engine.plan import Plan, Shard
from pseudolabel.engine.stream import MAX_COPY, copy_rows
from pseudolabel.inspection.manifest_check import known_failures
from pseudolabel.inspection.stored_rows import StoredRows
from pseudolabel.inspection.verify_shard import foreign_schema
from pseudolabel.storage.layout import DATA
from pseudolabel.storage.stores import parquet_source
from pseudolabel.tasks import Task
from pseudolabel.tasks.base.task import Labeler, PerSampleLabeler, Row, Rows
from pseudolabel.writers.dataset import Dataset
from pseudolabel.writers.source_columns import SourceColumns

if TYPE_CHECKING:
    import pyarrow as pa

RESTORE = "restore it, or make the dataset again"  # the remedy for a changed folder


class OpenDataset:
    """A finished or planned dataset. `rows` reads stored rows. It renders others from the source, bit for bit as a run
    with more `--copies` would have stored them. `len` is the number of `keys`."""

    def __init__(
        self, dataset: Dataset, task: Task, plan: Plan, source_columns: SourceColumns, has_source: bool = True
    ) -> None:
        """`has_source`: the source is known, so that rows can be rendered."""
        self.out, self.manifest, self.task = dataset.out, dataset.manifest, task
        self.plan, self._has_source = plan, has_source
        self.failures, self.spec = known_failures(dataset), spec_of(dataset, task, source_columns)
        self._artefacts = dataset.artefacts
        self._labelers: dict[bool, Labeler] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_labelers": {}}  # each process loads its own

    @property
    def keys(self) -> list[str]:
        """Return the keys of the planned files, or parts of files, in the order of their shards."""
        return [extent.key for shard in self.plan for extent in shard.extents]

    def __len__(self) -> int:
        return self.plan.extents

    @property
    def features(self) -> dict[str, Any]:
        """Return the Hugging Face feature of each column; `datasets.Features.from_dict` takes them."""
        return {column.name: column.feature for column in self.spec.columns}

    @property
    def is_by_sample(self) -> bool:
        """Return whether the task labels each sample by itself, without the others of its shard."""
        alone = not self.task.packs and self.task.min_shard_extents() == 1
        return alone and isinstance(self._labeler(False), PerSampleLabeler)

    @property
    def identity(self) -> dict[str, Any]:
        """Return the part of the manifest that the rows of a copy depend on."""
        names = ("task", "options", "seed", "shard_size", "limit", "validation", "in_order", "keep", "source")
        return {name: self.manifest.get(name) for name in names}

    # --- rows ---

    def rows(self, copy: int = 0, split: str = "train") -> Iterator[Row]:
        """Yield the rows of a copy, as they are stored, or as a run would store them."""
        self.check_split(split)
        copy, schema = whole_number("copy", copy, 0, MAX_COPY), self.spec.schema(0)
        for batch in self._stored(copy, split) if copy < self._copies else self._rendered(copy, split, schema):
            yield from batch.to_pylist()

    def row(self, key: str, copy: int = 0, number: int = 0) -> Row:
        """Render a row of the sample `key`: the first one, or that of this `number` if the sample gives several."""
        import pyarrow as pa

        copy = whole_number("copy", copy, 0, MAX_COPY)
        if not self.is_by_sample:
            raise UserError(f"{self.task.name} combines the samples of a shard; take the row from rows({copy})")
        found = list[Row]()
        places = self._places.get(file_of(key), [])
        exact = [place for place in places if self.plan[place[0]].extents[place[1]].key == key]
        for index, at in exact or places:
            piece, counts = Shard(index, [self.plan[index].extents[at]]), Counts()
            for split in splits(self.spec.validation):
                for item in self.render(piece, copy, split.name, counts=counts):
                    assert not isinstance(item.rows, pa.RecordBatch)
                    found += [row for row in item.rows if key in (row["key"], piece.extents[0].key)]
        if not places:
            raise UserError(f"{key} is not in the dataset; give one of `keys`")
        if not 0 <= number < len(found):
            raise UserError(f"{key} gives {len(found)} rows in copy {copy}; give another number, or another key")
        (row,) = pa.RecordBatch.from_pylist([found[number]], self.spec.schema(0)).to_pylist()
        return dict(row)

    def render(
        self,
        shard: Shard,
        copy: int,
        split: str,
        *,
        raw: bool = False,
        counts: Counts | None = None,
        skips: IO[str] | None = None,
        report: Heartbeat | None = None,
    ) -> Iterator[Rows]:
        """Yield the rows of a shard, or of some of its extents if the task `is_by_sample`, made from the source.

        `raw`: leave media as the task made them. `counts`, `skips`, `report`: as in `ShardReading`.
        """
        self.check_source()
        named = next(one for one in splits(self.spec.validation) if one.name == split)
        job, counts = Job("make", shard, self.failures), counts or Counts()
        reading = ShardReading(job, named, report or NoHeartbeat(), counts, skips, self.spec.source_columns)
        return copy_rows(reading, self.task, self._labeler(raw), self.spec.chance(split), copy)

    # --- parts ---

    @property
    def _copies(self) -> int:
        """Return how many copies are stored."""
        return self.spec.copies if "summary" in self.manifest else 0

    def check_source(self) -> None:
        """Raise `UserError` if the source is not known, which rendering needs."""
        if not self._has_source:
            raise lack_of_source(self.out)

    def check_split(self, split: str) -> None:
        names = [one.name for one in splits(self.spec.validation)]
        if split not in names:
            raise UserError(f"{self.out} has no split {split!r}; it has {' and '.join(names)}")

    def _labeler(self, raw: bool) -> Labeler:
        if raw not in self._labelers:
            labeler = self.task.labeler(self._artefacts)
            self._labelers[raw] = labeler._replace(raw=raw) if isinstance(labeler, PerSampleLabeler) else labeler
        return self._labelers[raw]

    def _stored(self, copy: int, split: str) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        for file in self.manifest["shards"]:
            if file["split"] == split:
                check_schema(self.spec, file["name"])
                with pq.ParquetFile(parquet_source(self.out / DATA / file["name"])) as opened:
                    stored = StoredRows(opened)
                    for rows in stored.all():
                        yield rows.filter(pc.equal(rows["copy"], pa.scalar(copy, pa.int32())))
                    if stored.broken:
                        raise UserError(f"{self.out / DATA / file['name']}: {stored.broken}; {RESTORE}", 3)

    def _rendered(self, copy: int, split: str, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        for shard in self.plan:
            for item in self.render(shard, copy, split):
                rows = item.batch(schema)
                del item  # free its image
                yield rows

    @cached_property
    def _places(self) -> Mapping[str, Sequence[tuple[int, int]]]:
        """Return the shard and the position in it of each extent of a file, by the key of the file."""
        found = defaultdict[str, list[tuple[int, int]]](list)
        for shard in self.plan:
            for at, extent in enumerate(shard.extents):
                found[extent.file].append((shard.index, at))
        return found


def lack_of_source(out: Path) -> UserError:
    """Return the error that rows of a dataset cannot be rendered."""
    return UserError(f"{out} does not know its source, which rendering needs; give open({str(out)!r}, source=...)")


def spec_of(dataset: Dataset, task: Task, source_columns: SourceColumns) -> RunSpec:
    """Return the specification of the run that made a dataset. Nothing is written."""
    chosen, work = dataset.options, Path(tempfile.gettempdir())
    return RunSpec(task, chosen.seed, chosen.copies, chosen.validation, dataset.out, work, source_columns)


def check_schema(spec: RunSpec, name: str) -> None:
    """Raise `UserError` if a data file is missing, damaged, or of another task or run than the manifest."""
    import pyarrow.parquet as pq

    path, index = spec.out / DATA / name, int(name.removesuffix(".parquet").rpartition("-")[2])
    try:
        found = pq.read_schema(parquet_source(path))
    except FileNotFoundError:
        raise UserError(f"{path} is missing, although the manifest lists it; {RESTORE}", 4) from None
    except ValueError:
        raise UserError(f"{path} is damaged: it is no Parquet file; {RESTORE}", 4) from None
    if fault := foreign_schema(found, spec.schema(index)):
        raise UserError(f"{path} does not belong to the manifest: {fault}; {RESTORE}", 4)
