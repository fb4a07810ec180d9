"""The trainers' files, read back as the trainers read them, and every reason not to write any."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from runs import FIXTURES, Command

from pseudolabel import MaskAudio, run
from pseudolabel.contracts import Column, UserError, arrow_schema
from pseudolabel.storage.files import file_sha256
from pseudolabel.writers.hubert import export
from pseudolabel.writers.shards import ShardWriter

SHARDS = {"train-00000.parquet": 3, "train-00001.parquet": 2, "validation-00000.parquet": 2}
LENGTHS = (16_000, 1_039, 12_345, 8_000, 4_001, 16_160, 5_000)  # samples
CLASSES = 9
Rows = list[dict[str, Any]]
Change = Callable[[Rows], None]


def sound(index: int, rate: int = 16_000) -> bytes:
    noise = np.random.default_rng(index).integers(-9000, 9000, LENGTHS[index], np.int16)
    flac = io.BytesIO()
    soundfile.write(flac, noise, rate, "PCM_16", format="FLAC")
    return flac.getvalue()


def kmeans_row(index: int, rate: int = 16_000) -> dict[str, Any]:
    """A row of MFCC labels: by Kaldi's count, a frame of 25 ms every 10 ms."""
    ids = np.random.default_rng(100 + index).integers(0, CLASSES - 1, (LENGTHS[index] - 400) // 160 + 1).tolist()
    about = {"key": f"dir ü/a%23\t{index}.wav#0-{index}", "copy": 0, "label_hz": 50.0}
    audio = {"bytes": sound(index, rate), "path": None}
    return {**about, "labels_100hz": ids, "labels": ids[::2], "seconds": LENGTHS[index] / rate, "audio": audio}


def best_rq_row(index: int) -> dict[str, Any]:
    """A row of BEST-RQ: a label for every four frames."""
    row = kmeans_row(index)
    frames = len(row.pop("labels_100hz"))
    return {**row, "label_hz": 25.0, "labels": [8191] * (frames // 4)}


def make(folder: Path, rows: Rows, shards: dict[str, int] = SHARDS, rate: int = 16_000) -> Path:
    """A finished dataset as `mask-audio` leaves it."""
    columns = [
        *(Column("key", "string", "about", ""), Column("copy", "int32", "about", "")),
        *(Column(name, "list<int32>", "label", "") for name in ("labels", "labels_100hz") if name in rows[0]),
        *(Column("label_hz", "float32", "about", ""), Column("seconds", "float32", "about", "")),
        Column("audio", f"audio<{rate}>", "input", ""),
    ]
    (folder / "data").mkdir(parents=True)
    files, left = [], iter(rows)
    for name, count in shards.items():
        path = folder / "data" / name
        with ShardWriter(path, arrow_schema(columns, {})) as writer:
            for _ in range(count):
                writer.write([next(left)])
        about = {"rows": count, "bytes": path.stat().st_size, "sha256": file_sha256(path)}
        files.append({"name": name, "split": name.partition("-")[0], **about})
    if "labels_100hz" in rows[0] or rows[0]["label_hz"] == 50:
        np.savez(folder / "centroids.npz", centroids=np.zeros((CLASSES, 39)))
    else:
        np.savez(folder / "quantiser.npz", codebook=np.zeros((8192, 16)), projection=np.zeros((320, 16)))
    counts = dict.fromkeys(("seen", "used", "skipped", "filtered", "cut", "lacking"), 0)
    manifest = {
        **{"task": "mask-audio", "copies": 1, "options": {}, "fields": {}, "versions": {}, "remarks": []},
        **{"artefacts": {}, "exceptions": {"reading": {}, "labelling": {}}, "shards": files},
        **{"source": {"files": 0, "bytes": 0, "keys and sizes": ""}},
        "summary": {**counts, "ignored": 0, "rows": {}, "shards": 0, "bytes": 0, "seconds": 0},
    }
    (folder / "_manifest.json").write_text(json.dumps(manifest))
    (folder / "_SUCCESS").touch()
    return folder


@pytest.fixture(scope="module")
def rows() -> Rows:
    return [kmeans_row(index) for index in range(len(LENGTHS))]


@pytest.fixture
def dataset(rows: Rows, tmp_path: Path) -> Path:
    return make(tmp_path / "speech", rows)


def decoded(flac: bytes) -> np.ndarray:
    return soundfile.read(io.BytesIO(flac), dtype="int16")[0]


def listed(path: Path) -> tuple[Path, list[tuple[str, int]]]:
    """A trainer's list: its root, and path and samples of each sound."""
    root, *lines = path.read_text().splitlines()
    pairs = [line.split("\t") for line in lines]
    return Path(root), [(name, int(samples)) for name, samples in pairs]


def ids(path: Path) -> list[list[int]]:
    return [[int(word) for word in line.split()] for line in path.read_text().splitlines()]


def test_fairseq(rows: Rows, dataset: Path, tmp_path: Path) -> None:
    summary = export(dataset, out=tmp_path / "out")
    assert summary == {
        **{"out": str(tmp_path / "out"), "rows": {"train": 5, "valid": 2}},
        **{"label_rate": 100, "classes": CLASSES},
    }
    for split, wanted in (("train", rows[:5]), ("valid", rows[5:])):
        root, sounds = listed(tmp_path / "out" / f"{split}.tsv")
        assert root == tmp_path / "out"
        assert ids(tmp_path / "out" / f"{split}.km") == [row["labels_100hz"] for row in wanted]
        for (name, samples), row in zip(sounds, wanted, strict=True):
            path, offset, length = f"{root}/{name}".split(":")  # as fairseq's parse_path, on root and name together
            cut = Path(path).read_bytes()[int(offset) :][: int(length)]
            assert cut == row["audio"]["bytes"]
            assert len(decoded(cut)) == samples
    archives = sorted((tmp_path / "out" / "audio").iterdir())
    assert [path.name for path in archives] == ["train-00000.zip", "train-00001.zip", "validation-00000.zip"]
    names = []
    for path in archives:
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            assert {entry.compress_type for entry in archive.infolist()} == {zipfile.ZIP_STORED}
            names += archive.namelist()
    assert len(set(names)) == 7
    assert (tmp_path / "out" / "dict.km.txt").read_text() == "".join(f"{i} 1\n" for i in range(CLASSES))
    assert "model.label_rate=100 " in (tmp_path / "out" / "README.txt").read_text()
    export(dataset, out=tmp_path / "again")
    for path in archives:
        assert path.read_bytes() == (tmp_path / "again" / "audio" / path.name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "out", "speech"], "nothing is left beside"


def test_labels_at_other_rates(rows: Rows, tmp_path: Path) -> None:
    shards = {"train-00000.parquet": 7}
    coarse = make(tmp_path / "coarse", [best_rq_row(index) for index in range(7)], shards)
    summary = export(coarse, out=tmp_path / "fairseq")
    assert (summary["label_rate"], summary["classes"], summary["rows"]) == (25, 8192, {"train": 7})
    assert "--validation 0.01" in summary["lacking"]
    assert not (tmp_path / "fairseq" / "valid.tsv").exists()
    assert len((tmp_path / "fairseq" / "dict.km.txt").read_text().splitlines()) == 8192
    wrong = best_rq_row(0)
    wrong["labels"] += [0, 0, 0]
    with pytest.raises(UserError, match="27 labels at 25 Hz"):
        export(make(tmp_path / "wrong", [wrong], {"train-00000.parquet": 1}), out=tmp_path / "no")
    given = [{name: row[name] for name in row if name != "labels_100hz"} for row in rows]
    export(make(tmp_path / "given", given, shards), out=tmp_path / "hubert")
    assert ids(tmp_path / "hubert" / "train.km") == [row["labels"] for row in rows]
    assert "model.label_rate=50 " in (tmp_path / "hubert" / "README.txt").read_text()


def test_command(dataset: Path, tmp_path: Path, pseudolabel: Command) -> None:
    done = pseudolabel("export", dataset, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["out"] == str(tmp_path / "speech-fairseq")
    again = pseudolabel("export", dataset)
    assert (again.returncode, "speech-fairseq exists" in again.stderr) == (4, True)


def unfinished(dataset: Path) -> None:
    (dataset / "_SUCCESS").unlink()


def of_another_task(dataset: Path) -> None:
    manifest = json.loads((dataset / "_manifest.json").read_text())
    (dataset / "_manifest.json").write_text(json.dumps({**manifest, "task": "jigsaw"}))


def cut_short(dataset: Path) -> None:
    shard = dataset / "data" / "train-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:-9])


def without_centroids(dataset: Path) -> None:
    (dataset / "centroids.npz").unlink()


@pytest.mark.parametrize(
    ("harm", "out", "code", "says"),
    [
        (lambda dataset: dataset.rename(dataset.with_name("moved")), "out", 2, "does not exist"),
        (lambda dataset: (dataset / "_manifest.json").unlink(), "out", 2, "has no _manifest.json"),
        (of_another_task, "out", 2, "only those of mask-audio"),
        (unfinished, "out", 3, "not finished"),
        (cut_short, "out", 4, "train-00001.parquet"),
        (without_centroids, "out", 4, "centroids.npz"),
        (lambda dataset: (dataset.parent / "out" / "mine").mkdir(parents=True), "out", 4, "--out"),
        (lambda dataset: (dataset.parent / "out").touch(), "out", 4, "--out"),
        (lambda dataset: None, "speech/out", 2, "inside the dataset"),
        (lambda dataset: None, "a:b", 2, "colons"),
        (lambda dataset: None, "a\nb", 2, "line ends"),
    ],
)
def test_refusals(harm: Callable[[Path], object], out: str, code: int, says: str, dataset: Path) -> None:
    harm(dataset)
    before = sorted(dataset.parent.rglob("*"))
    with pytest.raises(UserError, match=says) as refused:
        export(dataset, out=dataset.parent / out)
    assert refused.value.code == code
    assert sorted(dataset.parent.rglob("*")) == before


def too_many(row: dict[str, Any]) -> None:
    row["labels_100hz"].append(0)


def no_class(row: dict[str, Any]) -> None:
    row["labels_100hz"][7] = CLASSES


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (too_many, "99 labels at 100 Hz"),
        (no_class, f"0 to {CLASSES - 1}"),
        (lambda row: row.update(labels_100hz=[]), "labels"),
        (lambda row: row.update(seconds=1.01), "1.010 s"),
        (lambda row: row["audio"].update(bytes=b"RIFF" + bytes(60)), "FLAC"),
        (lambda row: row["audio"].update(bytes=sound(0, 8000)), "16000 Hz"),
    ],
)
def test_a_false_row_is_named_and_nothing_left(harm: Change, says: str, rows: Rows, tmp_path: Path) -> None:
    false = kmeans_row(0)
    harm(false)
    dataset = make(tmp_path / "speech", [*rows[:3], {**false, "key": "the/false.wav#0-1"}, *rows[4:]])
    with pytest.raises(UserError, match=f"the/false.wav#0-1: .*({says})") as refused:
        export(dataset, out=tmp_path / "out")
    assert refused.value.code == 3
    assert [path.name for path in tmp_path.iterdir()] == ["speech"]


def test_of_copies_the_first_is_exported(tmp_path: Path) -> None:
    """They are the same sound and labels: the trainers draw masks of their own."""
    run(MaskAudio(clusters=5), FIXTURES / "audio", out=tmp_path / "made", copies=3, workers=1)
    assert export(tmp_path / "made", out=tmp_path / "out")["rows"] == {"train": 9}
    assert len((tmp_path / "out" / "train.km").read_text().splitlines()) == 9
