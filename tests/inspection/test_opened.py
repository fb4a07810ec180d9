"""`pseudolabel.open`: what is rendered is what a run stores, and what does not belong together is refused by name."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from runs import FIXTURES, Made, source

import pseudolabel
from pseudolabel import AugmentPairs, Cluster, Jigsaw, MaskText, Rotate, Task, UserError, finish, plan_parts, run


def stored(out: Path, copy: int, split: str = "train") -> list[dict[str, Any]]:
    files = sorted((out / "data").glob(f"{split}-*.parquet"))
    return [row for file in files for row in pq.read_table(file).to_pylist() if row["copy"] == copy]


@pytest.fixture
def planned(tmp_path: Path) -> Path:
    """A planned dataset of four pictures, which lie next to it."""
    (tmp_path / "in").mkdir()
    for path in sorted((FIXTURES / "images").rglob("*.jpg"))[:4]:
        shutil.copy(path, tmp_path / "in" / path.name)
    plan_parts(Rotate(size=32), tmp_path / "in", out=tmp_path / "plan", workers=1)
    return tmp_path / "plan"


@pytest.mark.parametrize("task", [Jigsaw(), AugmentPairs(), MaskText()], ids=lambda task: task.name)
def test_rendered_rows_are_those_that_a_run_stores(task: Task, made: Made, tmp_path: Path) -> None:
    """Of a plan, which knows its source, and of a finished dataset with its source; `made` stores two copies."""
    plan_parts(task, source(task), out=tmp_path / "plan", validation=0.3, workers=1)
    plan = pseudolabel.open(tmp_path / "plan")
    for split in ("train", "validation"):
        assert list(plan.rows(1, split)) == stored(made[task.name], 1, split)
    finished = pseudolabel.open(made[task.name])
    assert list(finished.rows(1)) == stored(made[task.name], 1)
    assert list(pseudolabel.open(made[task.name], source(task)).rows(2)) == list(plan.rows(2))
    assert len(plan) == len(plan.keys) == len(finished.keys)
    metadata = pq.read_schema(next((made[task.name] / "data").iterdir())).metadata[b"huggingface"]
    assert plan.features == json.loads(metadata)["info"]["features"]
    with pytest.raises(UserError, match=r"give open\(.*source=\.\.\.\)"):
        next(finished.rows(2))


def test_a_row_by_its_key(planned: Path) -> None:
    opened = pseudolabel.open(planned)
    rows = list(opened.rows(3))
    key = opened.keys[1]
    assert [opened.row(key, 3, number) for number in range(4)] == [row for row in rows if row["key"] == key]
    for call, told in (
        (lambda: opened.row(key, 3, 4), f"{key} gives 4 rows"),
        (lambda: opened.row("none.jpg"), "none.jpg is not in the dataset"),
        (lambda: next(opened.rows(0, "validation")), "no split 'validation'; it has train"),
    ):
        with pytest.raises(UserError, match=told):
            call()
    for task in (AugmentPairs(), MaskText(length=64)):
        opened.task = task
        with pytest.raises(UserError, match=f"{task.name} combines the samples"):
            opened.row(key)


def test_what_is_broken_or_known_to_crash_is_skipped_as_in_a_run(planned: Path) -> None:
    first, second, *others = pseudolabel.open(planned).keys
    damaged = planned.parent / "in" / first
    damaged.write_bytes(damaged.read_bytes()[:200] + bytes(damaged.stat().st_size - 200))
    (planned / "_records" / "crashes.json").write_text(json.dumps({"labelling": {second: "killed its worker"}}))
    assert {row["key"] for row in pseudolabel.open(planned).rows(5)} == {*others}


def test_a_block_that_crashed_is_left_out_alone(tmp_path: Path) -> None:
    """The first block of a gzipped text has the key of its file."""
    text = "\n\n".join(f"a sentence about the number {i} and its square {i * i}" for i in range(45_000))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "long.txt.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    task, out = Cluster(clusters=2, no_inputs=True), tmp_path / "out"
    plan_parts(task, tmp_path / "in", out=out, workers=1)
    (out / "_records" / "crashes.json").write_text(json.dumps({"labelling": {"long.txt.gz": "killed its worker"}}))
    run(task, tmp_path / "in", out=out, workers=1, part="1/1")
    summary = finish(out)
    assert 10_000 < summary.skipped < 40_000
    assert summary.skipped + summary.used == 45_000
    assert sum(1 for _ in pseudolabel.open(out, tmp_path / "in").rows(1)) == summary.used


def test_a_source_that_is_another_is_refused_by_name(planned: Path, tmp_path: Path) -> None:
    run(Rotate(size=32), tmp_path / "in", out=tmp_path / "done", workers=1)
    path = tmp_path / "in" / pseudolabel.open(planned).keys[0]
    content = path.read_bytes()

    def refused(told: str) -> None:
        for out, given in ((planned, None), (planned, tmp_path / "in"), (tmp_path / "done", tmp_path / "in")):
            with pytest.raises(UserError, match=told):
                pseudolabel.open(out, given)

    path.write_bytes(content + b"0")
    refused(f"^{path.name} has another size than before")
    path.unlink()
    refused(f"^{path.name} is missing")
    path.write_bytes(content)
    (tmp_path / "in" / "more.jpg").write_bytes(content)
    with pytest.raises(UserError, match="the source gained 1 files"):
        pseudolabel.open(planned, tmp_path / "in")


def test_a_folder_that_contradicts_its_manifest_is_refused_by_name(made: Made, planned: Path, tmp_path: Path) -> None:
    def mixed(name: str, *files: tuple[Path, str]) -> Path:
        out = shutil.copytree(made["jigsaw"], tmp_path / name)
        for path, place in files:
            shutil.copy(path, out / place)
        return out

    (tmp_path / "empty").write_bytes(b"")
    for out, told in (
        (mixed("manifest", (made["rotate"] / "_manifest.json", "")), r"train-00000.parquet .* belong"),
        (mixed("artefact", (tmp_path / "empty", "permutations.npy")), "permutations.npy: its sha256 differs from"),
        (mixed("data", (tmp_path / "empty", "data/train-00000.parquet")), "train-00000.parquet is damaged"),
    ):
        with pytest.raises(UserError, match=told):
            pseudolabel.open(out)
    (planned / "_records" / "artefacts.json").unlink()
    with pytest.raises(UserError, match="not planned"):
        pseudolabel.open(planned)
