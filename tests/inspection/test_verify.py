"""`verify` passes what a run made, and names what was done to it since: for every task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from forgery import named, shard, sign, write
from reels import write as write_film
from runs import Command, Made, each_kind, source

from pseudolabel import TASKS, Task, run
from pseudolabel.inspection.verify import verify
from pseudolabel.tasks.base.task import row_columns
from pseudolabel.writers.shards import ShardWriter


@pytest.fixture
def copied(task: Task, made: Made, tmp_path: Path) -> Path:
    """A dataset to do harm to."""
    return Path(shutil.copytree(made[task.name], tmp_path / "copied"))


@each_kind
def test_what_was_done_to_files_and_rows_is_named_though_all_is_signed_again(task: Task, copied: Path) -> None:
    other = copied / "data" / "validation-00000.parquet"
    whole, rows = other.read_bytes(), pq.read_table(shard(copied)).to_pylist()
    lost, row = rows.pop(len(rows) // 4), rows[len(rows) // 2]
    labels = [column.name for column in row_columns(task) if column.role == "label"]
    if labels == ["key"]:  # crops of one key are of one picture: here is one of another
        row["local_crops"][2] = next(other for other in rows if other["key"] != row["key"])["local_crops"][2]
    else:
        row[labels[0]] = changed(row[labels[0]])
    write(copied, rows)
    other.write_bytes(flipped(whole))
    found = named(verify(copied, workers=1))
    assert "sha256" in found["data/train-00000.parquet"]
    assert "rows" in found["data/train-00000.parquet"]
    assert "sha256" in found["data/validation-00000.parquet"] or "Parquet" in found["data/validation-00000.parquet"]
    other.write_bytes(whole)
    sign(copied)
    beside = verify(copied, source(task), workers=1)
    assert (beside.false, set(named(beside))) == (1, {lost["key"], row["key"]})
    alone = verify(copied, workers=1)
    assert alone.has_no_fault or row["key"] in named(alone)
    assert not alone.has_no_fault or not task.description.self_verifying(task)
    shard(copied).unlink()
    assert "missing" in named(verify(copied, workers=1))["data/train-00000.parquet"]


def flipped(data: bytes) -> bytes:
    """With one bit that is another."""
    at = len(data) // 3
    return data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :]


def test_a_shard_of_another_run_is_named(task: Task, copied: Path, tmp_path: Path) -> None:
    schema = pq.read_schema(shard(copied))
    said = {name: value.replace(b'"seed": 0', b'"seed": 1') for name, value in schema.metadata.items()}
    with ShardWriter(shard(copied), schema.with_metadata(said)) as file:  # as the same command with --seed 1 has it
        file.write(pq.read_table(copied / "data" / "validation-00000.parquet").to_pylist()[:1])
    shutil.copy(shard(copied), copied / "data" / "train-00007.parquet")
    sign(copied)
    found = named(verify(copied, workers=1))
    assert "another run (seed: 1, not 0)" in found["data/train-00000.parquet"]
    assert "another run" in found["data/train-00007.parquet"]


def changed(label: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(label, list):
        place = next(i for i, value in enumerate(label) if value != -100)
        return [*label[:place], changed(label[place]), *label[place + 1 :]]
    return not label if isinstance(label, bool) else 1 - label if label in (0, 1) else label - 1


# --- the source, altered ----------------------------------------------------------------------------------------------


def a_tile(folder: Path) -> str:
    """Darken a part of a picture."""
    path = sorted(folder.rglob("*.png"))[0]
    image = cv2.imread(str(path))
    image[40:100, 30:90] //= 3
    cv2.imwrite(str(path), image)
    return path.relative_to(folder).as_posix()


def a_word(folder: Path) -> str:
    """Change a word of a text, by one of the same length."""
    path = folder / "tales-1.txt"
    text = path.read_text("utf-8")
    word = max(set(text.split()), key=lambda word: (word.isalpha() * len(word), word))
    path.write_text(text.replace(word, word[::-1], 1), "utf-8")
    return path.name


def a_second(folder: Path) -> str:
    """Silence half a second of a sound."""
    path = sorted(folder.rglob("*.wav"))[0]
    wave, rate = soundfile.read(path, dtype="int16")
    wave[rate // 2 : rate] = 0
    soundfile.write(path, wave, rate, "PCM_16")
    return path.relative_to(folder).as_posix()


def some_frames(folder: Path) -> str:
    """Darken a part of what a film shows for half a second."""
    path = sorted(folder.rglob("*.mp4"))[0]
    with av.open(str(path)) as film:
        frames = [frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)]
    for image in frames[20:33]:
        image[30:90, 30:90] //= 3
    write_film(path, frames, crf="1")
    return path.relative_to(folder).as_posix()


ALTER: dict[str, Callable[[Path], str]] = {
    **{"images": a_tile, "text": a_word, "audio": a_second, "video": some_frames},
}


@each_kind
def test_what_was_altered_in_the_source_is_named(task: Task, made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source(task), tmp_path / source(task).name))
    file = ALTER[folder.name](folder)
    found = verify(made[task.name], folder, workers=1)
    assert found.false
    offenders = [fault["where"] for fault in found.faults if fault["where"] != "the source"]
    if folder.name == "text":  # a row begins in one document and may hold the next ones
        assert offenders[0] in pq.read_table(made[task.name] / "data")["key"].to_pylist()
    else:
        assert any(where.startswith(file) for where in offenders), offenders


# --- the command ------------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_found_and_ends_with_3(
    made: Made,
    tmp_path: Path,
    pseudolabel: Command,
) -> None:
    done = pseudolabel("verify", made["jigsaw"], "--against", source(TASKS["jigsaw"]()), "--workers", 2, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["true"] == json.loads(done.stdout)["checked"] == 48
    copied = Path(shutil.copytree(made["jigsaw"], tmp_path / "copied"))
    (copied / "data" / "stray.parquet").write_bytes(b"PAR1")
    (copied / "_skipped.jsonl").write_text("")
    (copied / "permutations.npy").write_bytes(b"")
    done = pseudolabel("verify", copied)
    assert done.returncode == 3
    for name in ("data/stray.parquet: ", "_skipped.jsonl: ", "permutations.npy: "):
        assert name in done.stdout
    assert pseudolabel("verify", tmp_path).returncode == 2


@pytest.mark.parametrize(("name", "file"), [("mask-text", "tokenizer.json"), ("mask-audio", "centroids.npz")])
def test_an_artefact_that_was_changed_is_named(name: str, file: str, made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made[name], tmp_path / "out"))
    (out / file).write_bytes(b"{}")
    found = verify(out, workers=1)
    assert "sha256" in named(found)[file]
    assert "no row was checked" in named(found)["shard 0"]
    assert not found.checked


def test_a_file_that_is_gone_from_the_source_is_named(made: Made, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(source(TASKS["rotate"]()), tmp_path / "images"))
    gone = sorted(folder.rglob("*.png"))[0]
    gone.unlink()
    found = verify(made["rotate"], folder, workers=1)
    assert named(found)["the source"] == "lakes/01.png is gone"
    assert named(found)[gone.relative_to(folder).as_posix()].startswith("its source gives no such row")
    assert (found.false, found.true) == (8, found.checked - 8)


def test_files_are_found_in_their_shards_again_where_others_came_and_went(pictures: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(pictures, tmp_path / "pictures"))
    options: dict[str, Any] = {"out": tmp_path / "out", "in_order": True, "workers": 1}
    names = sorted(folder.rglob("*.png"))  # with the last ones, all are in the same order, but in other shards
    for path in names[-3:]:
        path.rename(path.with_suffix(".part"))
    run(TASKS["mask-patches"](), folder, **options)
    for path in names[-3:]:
        path.with_suffix(".part").rename(path)
    run(TASKS["mask-patches"](), folder, extend=True, **options)
    assert verify(tmp_path / "out", folder, workers=2).has_no_fault
    joined = Path(shutil.copytree(tmp_path / "out", tmp_path / "joined"))
    shards = (joined / "_records" / "made.jsonl").read_text()
    (joined / "_records" / "made.jsonl").write_text(shards.replace("]]\n[[", "], ["))
    assert "differs from the shards' records" in named(verify(joined, folder, workers=1))["_records/made.jsonl"]
    gone, *others = names
    shutil.copy(others[0], folder / "new.png")
    gone.unlink()
    found = verify(tmp_path / "out", folder, workers=2)
    assert [f["reason"] for f in found.faults if f["where"] == "the source"] == [
        "class-0/000.png is gone",
        "1 files or parts of files are new",
    ]
    assert (found.false, found.true) == (1, 59)


@pytest.mark.slow
def test_what_killed_the_run_kills_no_proof_of_it(tmp_path: Path, pseudolabel: Command) -> None:
    for i in range(30):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pictures" / f"{i}.png"), np.full((13 if i == 7 else 20 + i, 40, 3), i, np.uint8))
    done = pseudolabel("deadly", tmp_path / "pictures", "--out", tmp_path / "out")
    assert "30 images -> 29 rows" in done.stdout, done.stderr
    done = pseudolabel("verify", "out", "--against", "pictures", "--workers", 1, "--json")
    assert (done.returncode, json.loads(done.stdout)["true"]) == (0, 29), done.stdout
    manifest = json.loads((tmp_path / "out" / "_manifest.json").read_text())
    manifest["exceptions"]["labelling"] = {}
    (tmp_path / "out" / "_manifest.json").write_text(json.dumps(manifest))
    done = pseudolabel("verify", "out", "--against", "pictures", "--workers", 2)
    assert done.returncode == 3


@pytest.mark.parametrize(
    "preset", ["t5", "bart", *(pytest.param(ul2, marks=pytest.mark.slow) for ul2 in ("ul2-r", "ul2-s", "ul2-x"))]
)
def test_every_corruption_is_undone(preset: str, tmp_path: Path) -> None:
    task = TASKS["corrupt-spans"](preset=preset, vocab_size=500)
    run(task, source(task), out=tmp_path / "out", workers=1)
    assert verify(tmp_path / "out", source(task), workers=1).has_no_fault


OPTIONS: dict[str, dict[str, Any]] = {
    "jigsaw": {"preset": "code255", "grid": 4, "gray": 1.0},
    "predict-context": {"colour": "project"},
    "colorize": {"soft": 5},
    "mask-patches": {"strategy": "grid", "masks": 2, "render": True},
    "mask-text": {"preset": "spanbert", "as_text": True},
    "order-sentences": {"negatives": "random", "mask": True, "as_text": True},
    "mask-audio": {"targets": "best-rq"},
    "augment-pairs": {"negatives": 0, "preset": "byol", "sigma": (0.5, 1.0)},
    "crop-views": {"global_area": (0.3, 0.9)},
    "cluster": {"modality": "text", "clusters": 3, "balanced": True},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_other_options_come_back_from_the_manifest(name: str, tmp_path: Path) -> None:
    task = TASKS[name](**OPTIONS[name])
    run(task, source(task), out=tmp_path / "out", workers=1, shard_size=1, limit=8)
    found = verify(tmp_path / "out", source(task), workers=1)
    assert (found.faults, found.true) == ([], found.checked)
