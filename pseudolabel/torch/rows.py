"""The rows of an open dataset as an `IterableDataset`: rendered, shuffled, and resumed to the row."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import IterableDataset, get_worker_info

from pseudolabel.contracts import Chance, UserError, chance_for, whole_number
from pseudolabel.engine.make_shard import Counts
from pseudolabel.engine.plan import Shard
from pseudolabel.engine.stream import MAX_COPY
from pseudolabel.inspection.opened import OpenDataset
from pseudolabel.torch.place import FLAT, Cursor, DoneRows, Place, ShardRows, shuffle
from pseudolabel.torch.tensors import Columns, Tensors, batch_of, columns_of_batch, columns_of_row, one_row
from pseudolabel.torch.worker import SampleNamer, SkipLog, use_one_thread
from pseudolabel.writers.manifest import first_difference

PLACE = "place"  # the column of a row's place, int64 (FLAT,)
MAX_WORKERS, KEY_BYTES = 64, 256  # workers, and bytes of a key, of which `working_on` tells
PlacedRow = tuple[int, int, Cursor, tuple[Columns, int]]  # shard, number in it, cursor, and the row's place in columns


class Rows(IterableDataset[Tensors]):
    """The rows of an epoch, in an order drawn from `seed` and the epoch. Epoch e has copy e of each sample.

    Images are uint8 `(C, H, W)`, as they are before they are encoded; sounds int16 `(n,)`; whole numbers int64. Ranks
    share the shards, and so do the workers of a DataLoader. The shards come in random order, and in each its files, if
    the task labels each sample by itself; then the rows of each block of `buffer` are shuffled. A worker holds these
    rows in memory.

    To resume an epoch, call `state_dict(after=batch)` for every batch that was trained on, and store the last state.
    """

    def __init__(
        self,
        dataset: OpenDataset,
        *,
        seed: int = 0,
        buffer: int = 128,
        split: str = "train",
        columns: Sequence[str] | None = None,
        batch: int | None = None,
        encoded: bool = False,
        rank: int | None = None,
        world: int | None = None,
    ) -> None:
        """`seed`: the seed of the order. `columns`: names, by default `key` and all inputs and labels.

        `batch`: give this many rows at once, for a DataLoader(rows, batch_size=None), which then collates nothing: the
        same batches in less time. A column is a tensor where the shapes of its values are alike, else a list.

        `encoded`: media are the bytes of JPEG, PNG or FLAC that a run stores. `rank` of `world` processes: by default
        those of torch.distributed, or of its environment.
        """
        if not isinstance(dataset, OpenDataset):
            raise UserError(f"Rows takes an open dataset, not {dataset!r}; give pseudolabel.open(DIR)")
        dataset.check_source()
        dataset.check_split(split)
        seed, buffer = whole_number("seed", seed), whole_number("buffer", buffer)
        batch = None if batch is None else whole_number("batch", batch)
        if isinstance(columns, str):
            raise UserError(f"columns is {columns!r}; give a list of names")
        if buffer < 1:
            raise UserError(f"buffer is {buffer} rows; give 1 (no shuffling of rows) or more")
        if batch is not None and batch < 1:
            raise UserError(f"batch is {batch} rows; give 1 or more, or leave it out for single rows")
        self.dataset, self.seed, self.buffer, self.split, self.encoded = dataset, seed, buffer, split, encoded
        self.batch = batch
        if (rank is None) != (world is None):
            raise UserError("rank and world belong together; give both, or neither")
        self.rank, self.world = _rank() if rank is None or world is None else (rank, world)
        if not 0 <= self.rank < self.world:
            raise UserError(f"rank is {self.rank} of {self.world}; give 0 to {self.world - 1}")
        self._start, self._training = DoneRows(0), DoneRows(0)  # rows done before this iteration, and trained on
        self._output: DoneRows | None = None  # rows that this process has given in this iteration
        self._serials: dict[int, int] = {}  # worker -> its number of counted rows
        self._loads = 0
        every = {one.name: one.role in ("input", "label") or one.name == "key" for one in dataset.spec.columns}
        self.columns = [name for name in every if every[name]] if columns is None else list(columns)
        if unknown := set(self.columns) - every.keys():
            raise UserError(f"there is no column {min(unknown)!r}; choose among {', '.join(every)}")
        self._control = _shared(3)  # epoch, number of `load_state_dict` calls, and 1 if workers have begun the epoch
        self._totals = _shared(len(dataset.plan), 5)  # 1 + epoch, then the `Totals` of a shard; 0: not read yet
        self._boards = _shared(MAX_WORKERS, KEY_BYTES, kind=torch.uint8)
        if dataset.task.packs:
            pa.array(np.zeros(1))  # pyarrow imports pandas now; else each worker would, in each epoch
        self._columns = [one for one in dataset.spec.columns if one.name in self.columns]

    # --- epochs and states ---

    @property
    def epoch(self) -> int:
        """Return the epoch that the next iteration begins or resumes."""
        return int(self._control[0])

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which is also the number of the copy. Call it before each epoch."""
        epoch = whole_number("epoch", epoch, 0, MAX_COPY)
        if epoch != self.epoch:
            self._begin(DoneRows(epoch), DoneRows(epoch))

    def _begin(self, start: DoneRows, training: DoneRows) -> None:
        self._start, self._training, self._serials, self._output = start, training, {}, None
        self._control[0], self._control[2] = start.epoch, 0

    @property
    def counts(self) -> dict[str, int]:
        """Return the samples seen, used, skipped and filtered in the shards that were read in this epoch."""
        read = self._totals[self._totals[:, 0] == 1 + self.epoch]
        seen, skipped, filtered = read[:, 2:].sum(0).tolist()
        return {"seen": seen, "used": seen - skipped - filtered, "skipped": skipped, "filtered": filtered}

    @property
    def working_on(self) -> list[str]:
        """Return the sample that each worker is on or, if a worker was killed, was on."""
        keys = (row.tobytes().rstrip(b"\0").decode("utf-8", "replace") for row in self._boards.numpy())
        return [key for key in keys if key]

    def state_dict(self, after: Any = None) -> dict[str, Any]:
        """Return the state after training on a batch, as a dict for JSON or torch. Call it for every batch.

        `after`: a batch with the column `place`, or this column. Without it, return the state after the rows that this
        process has given: in a loader's worker, as a StatefulDataLoader calls it, or without workers.
        """
        if after is not None:
            done = self._count(after)
        elif self._output is None and self._control[2] and get_worker_info() is None:
            raise UserError("workers make the rows; give the batch that was trained on: state_dict(after=batch)")
        else:
            done = self._output or self._start
        done.finish(self._totals.numpy())
        return {**self._about(), **done.state()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on after the rows of a state. Call it before the DataLoader makes its workers."""
        own = self._about()
        if not isinstance(state, Mapping) or not {*own, *DoneRows(0).state()} <= state.keys():
            raise UserError("this is no state of such rows; give what state_dict() returned")
        for name in own:
            if state.get(name) != own[name]:
                what = first_difference(name, state.get(name), own[name])
                raise UserError(f"the state is of other rows than these: {what}; give the state of these rows")
        self._begin(DoneRows.load({**state}), DoneRows.load({**state}))
        for totals in self._start.finished:
            self._totals[totals.shard] = torch.tensor([1 + self._start.epoch, *totals[1:]])
        if get_worker_info() is None:
            self._loads += 1
            self._control[1] = self._loads

    def _about(self) -> dict[str, Any]:
        about = {"dataset": self.dataset.identity, "seed": self.seed, "split": self.split}
        return {**about, "rank": self.rank, "world": self.world}

    def _count(self, batch: Any) -> DoneRows:
        """Add the rows of a batch to those that were trained on."""
        given = batch.get(PLACE) if isinstance(batch, Mapping) else batch
        places = torch.as_tensor(given) if isinstance(given, torch.Tensor | np.ndarray | list) else torch.empty(0)
        if not places.shape or places.shape[-1] != FLAT:
            raise UserError("the batch has no column 'place'; keep it in collate_fn, or give state_dict(after=places)")
        if places.ndim > 2:
            raise UserError(
                "the batch holds batches, since Rows(batch=...) makes them; give the loader batch_size=None"
            )
        for place in map(Place.of, places.reshape(-1, FLAT).tolist()):
            if place.epoch != self._training.epoch:
                raise UserError(f"a batch of epoch {place.epoch} came in {self._training.epoch}; call set_epoch()")
            if place.serial > self._serials.get(place.worker, 0):
                raise UserError("a batch before this one was left out; call state_dict(after=batch) for every batch")
            self._training.add(place)
            self._serials[place.worker] = place.serial + 1
        return self._training

    # --- rows ---

    def __iter__(self) -> Iterator[Tensors]:
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        if info:
            use_one_thread()
            self._control[2] = 1
        epoch = self.epoch
        start = self._start if self._start.epoch == epoch else DoneRows(epoch)
        self._output = DoneRows.load(start.state())
        order = self._chance("order", epoch).permutation(len(self.dataset.plan))
        mine = order[self.rank :: self.world][worker::workers].tolist()
        every = (row for shard in mine if shard not in start.shards for row in self._shard(shard, epoch, start))
        rng = self._chance(f"rows of {worker}/{workers} in {self.rank}/{self.world}", epoch)
        return self._with_places(shuffle(every, self.buffer, rng), epoch, worker, self._output)

    def _with_places(self, rows: Iterator[PlacedRow], epoch: int, worker: int, output: DoneRows) -> Iterator[Tensors]:
        """Yield the rows, or batches of them, with their places, which are added to `output`."""
        if self._loads != int(self._control[1]):
            raise UserError("load_state_dict() was called after the workers began; make the DataLoader after it")
        serial = 0
        while group := [*islice(rows, self.batch or 1)]:
            numbered = enumerate(group, serial)
            places = [Place(epoch, shard, number, at, worker, i) for i, (shard, number, at, _) in numbered]
            serial += len(group)
            for place in places:
                output.add(place)
            flat = np.array([place.flat() for place in places])
            if self.batch:
                made = batch_of([row for *_, row in group], {PLACE: flat})
            else:
                made = {**one_row(*group[0][-1]), PLACE: torch.from_numpy(flat[0])}
            del group  # media may be large
            yield made
            del made

    @property
    def _chance(self) -> Chance:
        return chance_for(self.seed, "rows for torch")

    def _pieces(self, shard: Shard, epoch: int) -> list[Shard]:
        """Return the parts of a shard that give the same rows by themselves, in the order of the epoch."""
        if not self.dataset.is_by_sample:
            return [shard]
        blocks = [[*some] for _, some in groupby(shard.extents, lambda extent: extent.block)]  # such as a gzipped tar
        order = self._chance(f"files of {shard.index}", epoch).permutation(len(blocks)).tolist()
        return [Shard(shard.index, [extent]) for block in order for extent in blocks[block]]

    def _shard(self, index: int, epoch: int, start: DoneRows) -> Iterator[PlacedRow]:
        """Yield the rows of a shard that are not done. Begin with the piece of the last done row."""
        done = start.parts.get(index, ShardRows())
        pieces, number, first = self._pieces(self.dataset.plan[index], epoch), done.count, done.last.piece
        counts = Counts(seen=done.last.seen, skipped=done.last.skipped, filtered=done.last.filtered)
        for at in range(first, len(pieces)):
            before = counts.seen, counts.skipped, counts.filtered
            for row, place in enumerate(self._render(pieces[at], epoch, counts)):
                if at == first and row <= done.last.row:
                    continue
                if number not in done:
                    yield index, number, Cursor(at, row, *before), place
                number += 1
        self._totals[index, 1:] = torch.tensor([number, counts.seen, counts.skipped, counts.filtered])
        self._totals[index, 0] = 1 + epoch  # last: another process may read in between

    def _render(self, piece: Shard, epoch: int, counts: Counts) -> Iterator[tuple[Columns, int]]:
        """Yield each row of a piece as its place in columns. An error names the sample."""
        info = get_worker_info()
        on = SampleNamer(self._boards[info.id % MAX_WORKERS if info else 0].numpy())
        options: dict[str, Any] = {"raw": not self.encoded, "counts": counts, "skips": SkipLog(), "report": on}
        try:
            for item in self.dataset.render(piece, epoch, self.split, **options):
                rows = item.rows
                del item  # it may hold a decoded image
                if isinstance(rows, Sequence):
                    yield from ((columns_of_row(row, self._columns, self.encoded), 0) for row in rows)
                else:
                    columns = columns_of_batch(rows, self._columns)
                    yield from ((columns, at) for at in range(len(rows)))
                    del columns
                del rows
        except (UserError, OSError) as error:
            error.add_note(f"while reading or labelling {on.key}")
            raise
        except Exception as error:
            raise RuntimeError(f"internal error at {on.key}: {type(error).__name__}: {error}") from error


def _shared(*shape: int, kind: torch.dtype = torch.int64) -> torch.Tensor:
    """Return zeros in memory that this process shares with the workers of a loader."""
    zeros = torch.zeros(shape, dtype=kind)
    zeros.share_memory_()  # type: ignore[no-untyped-call]
    return zeros


def _rank() -> tuple[int, int]:
    """Return the rank and the number of processes of torch.distributed, of its environment, or 0 and 1."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
