"""Rows that are rendered, for every task: those of a run, the pixels before encoding, and each once through kills."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

torch = pytest.importorskip("torch")

from runs import NAMES, source  # noqa: E402
from tensors import is_stored_value  # noqa: E402
from training import kill_and_resume, named  # noqa: E402

import pseudolabel  # noqa: E402
from pseudolabel import TASKS, AugmentPairs, MaskText, Rotate, plan_parts, run  # noqa: E402
from pseudolabel.torch import Rows  # noqa: E402

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", NAMES)
def test_copy_3_of_every_task(name: str, tmp_path: Path) -> None:
    """Rendered from the plan alone, and given by a loader: rows that `--copies 4` stores, in both splits."""
    task = TASKS[name]()
    run(task, source(task), out=tmp_path / "stored", copies=4, validation=0.3, workers=1)
    plan_parts(task, source(task), out=tmp_path / "plan", validation=0.3, workers=1)
    opened = pseudolabel.open(tmp_path / "plan")
    for split in ("train", "validation"):
        files = sorted((tmp_path / "stored" / "data").glob(f"{split}-*"))
        stored = [row for file in files for row in pq.read_table(file).to_pylist() if row["copy"] == 3]
        assert list(opened.rows(3, split)) == stored
        rows = Rows(opened, buffer=1, split=split, columns=[*opened.features])
        rows.set_epoch(3)
        given = list(rows)
        if opened.is_by_sample:
            given, stored = (sorted(some, key=lambda row: row["key"]) for some in (given, stored))
        for ours, row in zip(given, stored, strict=True):
            wrong = [
                column for column, value in row.items() if not is_stored_value(ours[column], value, name == "cluster")
            ]
            assert not wrong, (row["key"], wrong)


KINDS = [(Rotate(size=32), "pictures"), (AugmentPairs(size=32), "pictures"), (MaskText(length=512), "corpus")]


@pytest.mark.parametrize(("task", "fixture"), KINDS, ids=lambda one: getattr(one, "name", ""))
def test_kills_lose_and_repeat_no_row(task: Any, fixture: str, tmp_path: Path, request: Any) -> None:
    """8 kills over two epochs for a task that labels each sample by itself, and for tasks that pair or pack."""
    plan_parts(task, request.getfixturevalue(fixture), out=tmp_path / "plan", workers=1, shard_size=1)
    (tmp_path / "loop").mkdir()
    assert kill_and_resume(tmp_path / "plan", tmp_path / "loop", kills=8, seed=1, epochs=2) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_every_task_goes_on_after_a_kill(name: str, tmp_path: Path) -> None:
    """2 kills over two epochs for each task."""
    task = TASKS[name]()
    plan_parts(task, source(task), out=tmp_path / "plan", workers=1)
    (tmp_path / "loop").mkdir()
    kill_and_resume(tmp_path / "plan", tmp_path / "loop", kills=2, seed=3, epochs=2)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize(("workers", "batch"), [(0, None), (2, None), (2, 8)])
def test_a_stateful_loader_goes_on_where_it_was(
    workers: int, batch: int | None, pictures: Path, tmp_path: Path
) -> None:
    loaders = pytest.importorskip("torchdata.stateful_dataloader")
    plan_parts(Rotate(size=32), pictures, out=tmp_path / "plan", workers=1, shard_size=1)
    opened = pseudolabel.open(tmp_path / "plan")
    options: dict[str, Any] = {"batch_size": None if batch else 8, "num_workers": workers, "collate_fn": named}
    done, state = [], None
    loader = loaders.StatefulDataLoader(Rows(opened, buffer=16, batch=batch), **options)
    for step, some in enumerate(loader):
        done += some
        if step == 10:
            state = loader.state_dict()
            break
    again = loaders.StatefulDataLoader(Rows(opened, buffer=16, batch=batch), **options)
    again.load_state_dict(state)
    done += [row for some in again for row in some]
    places = [tuple(place[1:3]) for _, place in done]
    assert len(places) == len(set(places)) == sum(1 for _ in opened.rows())
