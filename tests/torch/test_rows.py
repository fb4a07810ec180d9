"""Rows for a DataLoader: what they are, and that an epoch gives each of them once, whatever happens."""

from __future__ import annotations

import json
import os
import signal
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from drawn import photograph  # noqa: E402
from runs import FIXTURES, source  # noqa: E402
from tensors import is_stored_value  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402
from training import as_they_are, kill_and_resume  # noqa: E402

import pseudolabel  # noqa: E402
from pseudolabel import Colorize, Jigsaw, MaskText, Rotate, Task, UserError, plan_parts  # noqa: E402
from pseudolabel.torch import Rows  # noqa: E402
from pseudolabel.torch.tensors import batch_of  # noqa: E402


def planned(
    task: Task, out: Path, given: Path | None = None, **options: Any
) -> pseudolabel.inspection.opened.OpenDataset:
    plan_parts(task, given or source(task), out=out, workers=1, shard_size=1, **options)
    return pseudolabel.open(out)


@pytest.fixture
def turned(tmp_path: Path) -> Any:
    """24 pictures in 8 shards, four rows of each: heavy files that are quick to decode."""
    (tmp_path / "in").mkdir()
    for i in range(24):
        cv2.imwrite(str(tmp_path / "in" / f"{i}.bmp"), photograph(300, 400, i))
    return planned(Rotate(size=32), tmp_path / "plan", tmp_path / "in")


def places(rows: Any) -> list[tuple[int, ...]]:
    """Shard and number of each row or batch of rows."""
    return [tuple(place[1:3]) for row in rows for place in row["place"].reshape(-1, 10).tolist()]


def test_media_are_the_pixels_before_they_are_encoded(tmp_path: Path, tokenizer: Path) -> None:
    """Encoded by OpenCV as a run does, they are the bytes of the copy; other values are equal."""
    for task in (Jigsaw(), Colorize(), MaskText(tokenizer=str(tokenizer))):
        opened = planned(task, tmp_path / task.name, validation=0.3)
        rows = Rows(opened, buffer=1, split="validation", columns=[*opened.features])
        rows.set_epoch(3)
        given, expected = list(rows), list(opened.rows(3, "validation"))
        if opened.is_by_sample:  # the files of a shard come in another order
            given, expected = (sorted(some, key=lambda row: row["key"]) for some in (given, expected))
        assert len(given) == len(expected) > 3
        for ours, row in zip(given, expected, strict=True):
            assert all(is_stored_value(ours[name], value) for name, value in row.items())


def test_an_epoch_has_each_row_once_in_an_order_of_its_own(turned: Any) -> None:
    """For ranks and workers together; batches stack; the next epoch has another copy and another order."""
    expected = sorted((row["key"], row["label"]) for row in turned.rows())
    every, orders = [], []
    for rank in (0, 1):
        rows = Rows(turned, rank=rank, world=2, seed=5)
        batches = list(DataLoader(rows, batch_size=8, num_workers=2 if rank else 0))
        assert batches[0]["image"].shape == (8, 3, 32, 32)
        assert batches[0]["image"].dtype == torch.uint8
        every += [row for batch in batches for row in zip(batch["key"], batch["label"].tolist(), strict=True)]
        again, other = ([row["key"] for row in Rows(turned, rank=rank, world=2, seed=seed)] for seed in (5, 6))
        orders.append((again, other))
    assert sorted(every) == expected
    assert orders[0][0] == [key for key, _ in every[: len(orders[0][0])]] != orders[0][1]
    rows = Rows(turned, columns=["key", "copy"])
    rows.set_epoch(1)
    assert [int(row["copy"]) for row in rows] == [1] * len(expected)


def test_batches_are_those_that_a_loader_collates(turned: Any, tmp_path: Path, tokenizer: Path) -> None:
    """In the same order; what has no common shape is a list; an epoch goes on after a batch with single rows."""
    text = planned(MaskText(tokenizer=str(tokenizer), length=64), tmp_path / "text")
    for opened, size, workers in ((turned, 9, 2), (text, 32, 0)):
        columns = [name for name in opened.features if name not in ("text", "tokens")]
        ours = DataLoader(Rows(opened, batch=size, columns=columns), batch_size=None, num_workers=workers)
        theirs = DataLoader(Rows(opened, columns=columns), batch_size=size, num_workers=workers)
        for batch, expected in zip(ours, theirs, strict=True):
            assert batch.keys() == expected.keys()
            numbers = {name: one for name, one in batch.items() if name not in ("image", "key")}
            assert len({memory_of(one) for one in numbers.values()}) == len({one.dtype for one in numbers.values()})
            assert "image" not in batch or memory_of(batch["image"]) != memory_of(batch["label"])
            for name, values in expected.items():
                given = batch[name]
                assert given == values if isinstance(values, list) else same_tensors(given, values), name
    rows = Rows(turned, batch=7)
    first = next(iter(rows))
    state = rows.state_dict(after=first)
    again = Rows(turned)
    again.load_state_dict(state)
    assert sorted(places([first, *again])) == sorted(places(Rows(turned)))
    sounds = [np.arange(n, dtype=np.int16) for n in (2, 3)]
    held = [({"sound": [one], "more": [[one, None, "x"]], "class": np.arange(2)}, 0) for one in sounds]
    batch = batch_of(held, {"place": np.eye(2, dtype=int)})
    assert [one.tolist() for one in batch["sound"]] == [[0, 1], [0, 1, 2]]
    assert [(one.tolist(), *others) for one, *others in batch["more"]] == [([0, 1], None, "x"), ([0, 1, 2], None, "x")]
    assert (batch["class"].tolist(), batch["place"].tolist()) == ([0, 0], [[1, 0], [0, 1]])
    blocks = {memory_of(one) for one in (*batch["sound"], batch["class"], batch["place"])}
    assert len(blocks) == 2, "values of a list column share a block as well: each block costs a file descriptor"
    before = batch["place"]._version
    batch["class"][:] = 1
    assert batch["place"]._version == before, "so that autograd knows what was changed"


def test_a_text_shorter_than_a_row_gives_one_row(tokenizer: Path, tmp_path: Path) -> None:
    """Its block of text completes no row, and gives a batch without rows first."""
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("The clockmaker found a wooden boat.", "utf-8")
    (row,) = Rows(planned(MaskText(tokenizer=str(tokenizer)), tmp_path / "plan", tmp_path / "in"))
    assert row["key"] == "a.txt#0+0"


def memory_of(tensor: Any) -> int:
    """Return the address of the block in which a tensor lies."""
    return int(tensor.untyped_storage().data_ptr())


def same_tensors(one: Any, other: Any) -> bool:
    return bool(one.dtype == other.dtype and one.shape == other.shape and (one == other).all())


def test_an_epoch_goes_on_after_any_batch(turned: Any) -> None:
    """Made with two workers, and gone on with by another number; also when it was gone on with before."""
    whole = sorted(places(Rows(turned)))
    for stop, workers in ((1, 0), (9, 1)):
        rows, done, state = Rows(turned, buffer=11), [], None
        for batch in islice(DataLoader(rows, batch_size=5, num_workers=2), stop):
            state = rows.state_dict(after=batch)
            done += places([batch])
        again = Rows(turned, buffer=3)
        again.load_state_dict(json.loads(json.dumps(state)))
        for batch in islice(DataLoader(again, batch_size=2, num_workers=workers), 4):
            state = again.state_dict(after=batch)
            done += places([batch])
        again.load_state_dict(state)
        left = list(DataLoader(again, batch_size=4, num_workers=2))
        assert sorted(done + places(left)) == whole
        for batch in left:
            state = again.state_dict(after=batch)
        assert not state["parts"]
        assert again.counts == {"seen": 24, "used": 24, "skipped": 0, "filtered": 0}


def test_kills_at_random_moments_lose_and_repeat_no_row(turned: Any, tmp_path: Path) -> None:
    (tmp_path / "loop").mkdir()
    assert kill_and_resume(turned.out, tmp_path / "loop", kills=3, seed=1)


def test_what_does_not_fit_is_refused_by_name(turned: Any, tmp_path: Path) -> None:
    rows = Rows(turned, buffer=2)
    first, second, third = islice(DataLoader(rows, batch_size=2), 3)
    state = rows.state_dict(after=first)
    with pytest.raises(UserError, match="a batch before this one was left out"):
        rows.state_dict(after=third)
    with pytest.raises(UserError, match="came a second time; call set_epoch"):
        rows.state_dict(after=first)
    rows.set_epoch(1)
    with pytest.raises(UserError, match="a batch of epoch 0 came in 1"):
        rows.state_dict(after=second)
    other = planned(Rotate(size=32, flip=0), tmp_path / "other", FIXTURES / "images")
    for refusing, told in (
        (Rows(other), "flip is 0.5, not 0"),
        (Rows(turned, seed=1), "seed is 0, not 1"),
        (Rows(turned, rank=1, world=2), "rank is 0, not 1"),
    ):
        with pytest.raises(UserError, match=f"the state is of other rows than these: {told}"):
            refusing.load_state_dict(state)
    loader = DataLoader(rows, batch_size=2, num_workers=1, persistent_workers=True)
    list(loader)
    rows.load_state_dict(state)
    with pytest.raises(UserError, match="make the DataLoader after it"):
        list(loader)
    with pytest.raises(UserError, match=r"state_dict\(after=batch\)"):
        rows.state_dict()
    fresh = Rows(turned, batch=8, seed=np.int64(0))  # type: ignore[arg-type]
    fresh.set_epoch(np.int64(1))  # type: ignore[arg-type]
    fresh.set_epoch(0)
    assert fresh.state_dict() == Rows(turned).state_dict(), "nothing was trained on yet"
    for wrong, told in (
        (lambda: Rows(turned, rank=1), "rank and world belong together; give both"),
        (lambda: Rows(turned, columns="label"), "columns is 'label'; give a list of names"),
        (lambda: Rows(turned, batch=2.5), "batch is 2.5; give a whole number"),  # type: ignore[arg-type]
        (lambda: Rows("pairs/"), r"not 'pairs/'; give pseudolabel.open\(DIR\)"),  # type: ignore[arg-type]
        (lambda: fresh.set_epoch(-1), "epoch is -1; give 0 to 2,147,483,647"),
        (lambda: fresh.load_state_dict({}), "no state of such rows; give what state_dict"),
        (lambda: fresh.state_dict(after={"label": 1}), "no column 'place'; keep it in collate_fn"),
        (lambda: fresh.state_dict(after=next(iter(DataLoader(fresh)))), "give the loader batch_size=None"),
    ):
        with pytest.raises(UserError, match=told):
            wrong()
    with pytest.raises(UserError, match="no column 'label_2'; choose among key, copy, label"):
        Rows(turned, columns=["label_2"])


def test_an_error_in_a_worker_names_the_sample(turned: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a broken file is counted."""
    key = turned.plan[2].extents[0].key
    (path := Path(turned.plan[2].extents[0].where)), (content := path.read_bytes())
    try:
        path.write_bytes(content[:100])
        rows = Rows(turned)
        list(DataLoader(rows, num_workers=2, collate_fn=as_they_are))
        assert rows.counts == {"seen": 24, "used": 23, "skipped": 1, "filtered": 0}
    finally:
        path.write_bytes(content)
    rng = turned.spec.chance("train")(key, 0).bit_generator.state
    rows_of = Rotate.rows

    def failing(self: Rotate, image: np.ndarray, chance: np.random.Generator) -> Any:
        if str(chance.bit_generator.state) == str(rng):
            raise ZeroDivisionError
        return rows_of(self, image, chance)

    monkeypatch.setattr(Rotate, "rows", failing)
    with pytest.raises(RuntimeError, match=rf"DataLoader worker process(.|\n)*internal error at {key}: ZeroDivision"):
        list(DataLoader(Rows(turned), num_workers=2, collate_fn=as_they_are))
    monkeypatch.undo()
    monkeypatch.setattr(Rotate, "rows", lambda self, image, chance: os.kill(os.getpid(), signal.SIGKILL))
    rows = Rows(turned)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        list(DataLoader(rows, num_workers=1))
    assert rows.working_on[0] in turned.keys
