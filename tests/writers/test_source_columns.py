"""`--keep`: each row has of its source what other readers find there, and what has nothing has null."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from runs import FIXTURES, NAMES, Command, source

from pseudolabel import TASKS, Jigsaw, Rotate, Task, UserError, run
from pseudolabel import rows as stream_rows
from pseudolabel.cli.datasets import description_table
from pseudolabel.engine.parts import finish, plan_parts
from pseudolabel.engine.stream import dry_run
from pseudolabel.inspection.describe import describe
from pseudolabel.inspection.preview import preview
from pseudolabel.inspection.show import show
from pseudolabel.inspection.verify import verify
from pseudolabel.tasks.augment_pairs import AugmentPairs
from pseudolabel.tasks.cluster import Cluster
from pseudolabel.tasks.mask_audio import MaskAudio
from pseudolabel.testing.checks import checksums
from pseudolabel.writers.dataset import open_dataset
from pseudolabel.writers.shards import ShardWriter

SMALL = Rotate(size=16)
LINES = (  # of metadata.csv at the top
    *(("cats/0.png", "CC0", "a line\nand another, with a comma"), ("./cats/1.png", "", "'quoted'")),
    *(("dogs/0.png", "CC BY", "Grüße aus 北京"), ("dogs/deep/0.png", "MIT", "deep, by the one above")),
    *(("C#/100%.png", "GPL", ""), ("top.png", "MIT", "at the top"), ("gone.png", "MIT", "of no file")),
)


KEEP = "folder,licence,caption,size"


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures in folders, with metadata at the top, and nearer metadata for dogs; and a dataset of them."""
    top, rng = tmp_path_factory.mktemp("keep"), np.random.default_rng(1)
    for name in ("cats/0", "cats/1", "cats/2", "dogs/0", "dogs/1", "dogs/deep/0", "C#/100%", "top"):
        picture(top / "pictures" / f"{name}.png", rng)
    with (top / "pictures" / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("file_name", "licence", "caption"), *LINES])
    near = [{"file_name": "0.png", "licence": "nearer", "size": 3}, {"file_name": "1.png", "size": [1]}]
    (top / "pictures" / "dogs" / "metadata.jsonl").write_text("\n".join(map(json.dumps, near)) + "\n\n")
    run(SMALL, top / "pictures", out=top / "out", keep=" folder, licence,caption ,size", workers=2, copies=2)
    return top


@pytest.fixture
def pictures(once: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(once / "pictures", tmp_path / "pictures"))


@pytest.fixture
def out(once: Path, tmp_path: Path) -> Path:
    """A copy of their dataset."""
    return Path(shutil.copytree(once / "out", tmp_path / "out"))


def picture(path: Path, rng: np.random.Generator) -> None:
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), rng.integers(0, 255, (40, 50, 3), np.uint8))


def stored(out: Path, *names: str) -> dict[str, tuple[Any, ...]]:
    """key -> its values, which are the same in all of its rows."""
    rows = pq.read_table(out / "data", columns=["key", *names]).to_pylist()
    found = {row["key"]: tuple(row[name] for name in names) for row in rows}
    assert all(found[row["key"]] == tuple(row[name] for name in names) for row in rows)
    return found


# --- from where ------------------------------------------------------------------------------------------------------


def test_pictures_have_their_folder_and_the_nearest_metadata(pictures: Path, out: Path) -> None:
    found = stored(out, "folder", "licence", "caption", "size")
    with (pictures / "metadata.csv").open(encoding="utf-8", newline="") as file:
        above = {line["file_name"].removeprefix("./"): line for line in csv.DictReader(file)}
    near = list(map(json.loads, (pictures / "dogs" / "metadata.jsonl").read_text().split("\n")[:2]))
    assert len(found) == 8
    for key, (folder, licence, caption, size) in found.items():
        path = pictures / key.replace("%23", "#").replace("%25", "%")
        assert folder == (None if path.parent == pictures else path.parent.name), key
        if path.parent.name == "dogs":
            line = near[int(path.stem)]
            assert (licence, caption, size) == (line.get("licence"), None, json.dumps(line["size"])), key
        else:
            line = above.get(path.relative_to(pictures).as_posix(), {})
            assert (licence, caption, size) == (line.get("licence") or None, line.get("caption") or None, None), key
    assert verify(out, pictures, workers=1).has_no_fault


def test_parquet_keeps_types_and_sounds_are_named_by_file(tmp_path: Path) -> None:
    """Utterances are several to a file; `speaker` is stored by a dictionary; two columns have nulls."""
    said = {"file_name": ["a.wav", "b.wav"], "speaker": ["eva", None], "age": [31, None], "fit": [0.5, np.nan]}
    said |= {"native": [True, False]}
    types = {"speaker": pa.dictionary(pa.int8(), pa.string()), "age": pa.int16(), "fit": pa.float32()}
    wave = np.random.default_rng(0).normal(0, 0.1, 16000 * 3)
    for name in ("a.wav", "b.wav", "c.wav"):
        (tmp_path / "speech").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "speech" / name, wave, 16000)
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in said.items()})
    pq.write_table(table, tmp_path / "speech" / "metadata.parquet")
    task = MaskAudio(targets="best-rq", seconds=1.5)
    run(task, tmp_path / "speech", out=tmp_path / "out", keep="speaker,age,fit,native", workers=1)
    schema = pq.read_schema(next((tmp_path / "out" / "data").iterdir()))
    assert schema.names[:6] == ["key", "copy", "speaker", "age", "fit", "native"]
    assert [str(schema.field(name).type) for name in schema.names[2:6]] == ["string", "int16", "float", "bool"]
    found = stored(tmp_path / "out", "speaker", "age", "native")
    assert {key.partition("#")[0]: values for key, values in found.items()} == {
        **{row["file_name"]: (row["speaker"], row["age"], row["native"]) for row in table.to_pylist()},
        "c.wav": (None, None, None),
    }
    assert len(found) == 6
    assert verify(tmp_path / "out", tmp_path / "speech", workers=1).has_no_fault, "also where a number is none"
    features = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"].features
    assert [features[name].dtype for name in said if name != "file_name"] == ["string", "int16", "float32", "bool"]


def test_pairs_have_what_is_kept_of_their_first_picture(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for i in range(12):
        picture(tmp_path / "in" / f"class-{i % 3}" / f"{i}.png", rng)
    rows = list(stream_rows(AugmentPairs(size=16, negatives=2), tmp_path / "in", keep="folder"))
    assert any(row["partner"].split("/")[0] != row["folder"] for row in rows)
    assert all(row["folder"] == row["key"].split("/")[0] for row in rows)


def test_media_in_tables_have_the_other_columns_of_their_row(pictures: Path, tmp_path: Path) -> None:
    """Rows of several row groups, mixed by the plan."""
    files = sorted((pictures / "cats").iterdir()) + sorted((pictures / "dogs").glob("*.png"))
    media = [{"bytes": path.read_bytes(), "path": f"{path.parent.name}/{path.name}"} for path in files]
    said = {"licence": ["a", None, "c", "d", "e"], "age": pa.array([1, 2, None, 4, 5], pa.uint8())}
    (tmp_path / "tables").mkdir()
    pq.write_table(pa.table({"image": media, **said}), tmp_path / "tables" / "x.parquet", row_group_size=2)
    rows = list(stream_rows(SMALL, tmp_path / "tables" / "x.parquet", keep="age,licence,folder"))
    assert {(row["key"], row["licence"], row["age"], row["folder"]) for row in rows} == {
        (one["path"], licence, age, one["path"].split("/")[0])
        for one, licence, age in zip(media, said["licence"], said["age"].to_pylist(), strict=True)
    }
    assert "'image' of" in refused("image", tmp_path / "tables", Jigsaw())


@pytest.mark.parametrize("kind", ["w:", "w:gz"])
def test_media_of_webdataset_have_the_other_fields_of_their_sample(pictures: Path, tmp_path: Path, kind: str) -> None:
    fields = {"a.b/0": {"licence": "MIT", "n": 3}, "a.b/1": {"licence": None}, "2": None, "3": {}}
    path = tmp_path / ("shard.tar" + ".gz" * kind.endswith("gz"))
    with tarfile.open(path, kind) as tar:  # type: ignore[call-overload]
        for name, record in fields.items():
            members = {"cls": f"{name[-1]}\n".encode(), "left.png": (pictures / "top.png").read_bytes()}
            members |= {} if record is None else {"json": json.dumps(record).encode() or b"", "txt": "é ".encode()}
            members |= {"json": b"{broken"} if name == "3" else {}
            for suffix, data in members.items():
                about = tarfile.TarInfo(f"./{name}.{suffix}")
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))
    summary = run(SMALL, path, out=tmp_path / "shard", keep="licence,n,cls,txt", workers=1)
    assert (summary.used, summary.skipped) == (3, 1)
    assert stored(tmp_path / "shard", "licence", "n", "cls", "txt") == {
        "a.b/0.left.png": ("MIT", "3", "0", "é"),
        "a.b/1.left.png": (None, None, "1", "é"),
        "2.left.png": (None, None, "2", None),
    }
    assert "not a JSON object" in (tmp_path / "shard" / "_skipped.jsonl").read_text()


def test_fields_of_webdataset_with_several_dots(pictures: Path, tmp_path: Path) -> None:
    """Named as the library webdataset names them: by all that follows the first dot. A contradiction is refused."""
    path, picture = tmp_path / "shard.tar", (pictures / "top.png").read_bytes()
    members = {
        "before.png": picture,
        "before.cls": b"10",
        "after.cls": b"20",
        "json": b'{"cls": 3}',
        "cam.json": b'{"name": "left"}',
    }
    with tarfile.open(path, "w") as tar:
        for name, more in (("0", {}), ("1", {"cls": b"4"}), ("2", {"cls": b"3"})):
            for suffix, data in (members | more).items():
                about = tarfile.TarInfo(f"{name}.{suffix}")
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))
    names = ("before.cls", "after.cls", "cam.name", "cls")
    summary = run(SMALL, path, out=tmp_path / "all", keep=",".join(names), workers=1)
    assert (summary.used, summary.skipped) == (2, 1)
    assert stored(tmp_path / "all", *names) == {f"{i}.before.png": ("10", "20", "left", "3") for i in (0, 2)}
    told = (tmp_path / "all" / "_skipped.jsonl").read_text()
    assert "two fields give different values of the column 'cls'" in told
    assert run(SMALL, path, out=tmp_path / "some", keep="before.cls", workers=1).skipped == 0


@pytest.mark.parametrize("pack", ["zip", "tar", "gztar"])
def test_pictures_in_an_archive_have_the_same(pictures: Path, out: Path, tmp_path: Path, pack: str) -> None:
    archive = shutil.make_archive(str(tmp_path / "packed"), pack, pictures)
    rows = {row["key"]: tuple(row[name] for name in KEEP.split(",")) for row in stream_rows(SMALL, archive, keep=KEEP)}
    assert rows == stored(out, *KEEP.split(","))


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """Tables of text, with broken lines, empty texts and nulls among them; two of jsonl are cut into ranges."""
    folder, rng = tmp_path / "documents", np.random.default_rng(2)
    (folder / "news").mkdir(parents=True)
    words = ["the", "river", "found", "its", "way", "before", "boats", "came", "up", "among", "canoes"]
    texts = [" ".join(rng.choice(words, 12)) for _ in range(300)]
    lines = [json.dumps({"text": text, "id": f"é{i}", "tags": ["a", i]}) for i, text in enumerate(texts)]
    lines[7], lines[9] = "{broken", json.dumps({"text": None, "id": "nothing"})
    lines[11] = json.dumps({"text": "no id", "more": "x" * 1_200_000})
    (folder / "news" / "a.jsonl").write_text("\n".join(lines))
    with gzip.open(folder / "b.csv.gz", "wt", newline="") as file:
        rows = [(f"row {i}" if i % 4 else "", text if i % 9 else "") for i, text in enumerate(texts[:90])]
        csv.writer(file).writerows([("id", "text"), *rows, ("too", "many", "fields"), ("last", "boats came up")])
    table = pa.table({"text": [*texts[:50], None, *texts[50:]], "id": [None if i % 5 else str(i) for i in range(301)]})
    pq.write_table(table, folder / "c.parquet", row_group_size=40)
    (folder / "d.txt").write_text("A text of no table.")
    return folder


def test_documents_have_the_other_columns_of_their_record(documents: Path) -> None:
    rows_made = stream_rows(Cluster(clusters=2), documents, keep="id,folder,tags", shard_size=1)
    found = {row["key"]: (row["id"], row["folder"], row["tags"]) for row in rows_made}
    content = (documents / "news" / "a.jsonl").read_bytes()
    with gzip.open(documents / "b.csv.gz", "rt", newline="") as file:
        rows = [row for row in csv.reader(file) if row][1:]
    column = pq.read_table(documents / "c.parquet")["id"].to_pylist()
    counts = dict.fromkeys(("news/a.jsonl", "b.csv.gz", "c.parquet", "d.txt"), 0)
    for key, (identifier, folder, tags) in found.items():
        name, _, place = key.partition("#")
        counts[name] += 1
        if name == "news/a.jsonl":
            record = json.loads(content[int(place) :].partition(b"\n")[0])
            told = (record.get("id"), json.dumps(record["tags"]) if "tags" in record else None)
        else:
            told = ({"b.csv.gz": rows, "c.parquet": column, "d.txt": [None]}[name][int(place)], None)
            told = (told[0][0] or None, None) if name == "b.csv.gz" else told
        assert (identifier, folder, tags) == (told[0], "news" if "/" in name else None, told[1]), key
    assert counts == {"news/a.jsonl": 298, "b.csv.gz": 81, "c.parquet": 300, "d.txt": 1}


def test_a_value_that_cannot_be_kept_is_the_reason_to_skip(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    lines = [json.dumps({"text": f"the boats came up {i}", "id": "\ud800" if i == 3 else f"{i}"}) for i in range(12)]
    (tmp_path / "in" / "a.jsonl").write_text("\n".join(lines))
    summary = run(Cluster(clusters=2), tmp_path / "in", out=tmp_path / "out", keep="id", workers=1)
    assert (summary.seen, summary.used, summary.skipped) == (12, 11, 1)
    (left,) = map(json.loads, (tmp_path / "out" / "_skipped.jsonl").read_text().splitlines())
    assert left["reason"] == "column 'id' is not valid Unicode at position 0"
    assert int(left["key"].partition("#")[2]) == len("\n".join(lines[:3])) + 1
    assert verify(tmp_path / "out", tmp_path / "in", workers=1).has_no_fault


@pytest.mark.parametrize("name", NAMES)
def test_every_task_keeps_what_is_true_of_a_row(name: str) -> None:
    task = TASKS[name]()
    rows = stream_rows(task, source(task), keep="folder")
    if task.packs:
        with pytest.raises(UserError, match="several documents"):
            next(rows)
    else:
        row = next(rows)
        assert row["folder"] == Path(row["key"].partition("#")[0]).parent.name != ""


# --- refused before anything is made ---------------------------------------------------------------------------------


def refused(keep: str, source: Path, task: Task = SMALL) -> str:
    """Why; nothing is left behind."""
    with pytest.raises(UserError) as told:
        run(task, source, out=source.parent / "refused", keep=keep)
    assert told.value.code == 2
    assert not (source.parent / "refused").exists()
    return str(told.value)


def test_columns_that_are_none_are_refused(pictures: Path, documents: Path) -> None:
    assert "choose with --keep among: caption, file_name, folder, licence, size;" in refused("speaker", pictures)
    assert "metadata.csv" in refused("speaker", FIXTURES / "images")
    assert "among: folder, id, more, tags, text" in refused("speaker", documents, Cluster())
    assert "has an empty name" in refused("licence,,", pictures)
    assert "has a `label` of its own" in refused("label", pictures)
    assert "has a `copy` of its own" in refused("folder,copy", pictures)
    assert "has a `label` of its own" in refused("labels", pictures), "a trainer would take one for the other"
    assert "has a `text` of its own" in refused("text", documents, Cluster())


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("a,b\n1,2\n", "has no column file_name"),
        ("file_name,licence\n0.png,MIT,x\n", "Expected 2 columns, got 3"),
        ("file_name,licence\n../cats/0.png,MIT\n", "'../cats/0.png' is not a file below the folder"),
        ("file_name,licence\n/0.png,MIT\n", "'/0.png' is not a file below the folder"),
        ("file_name,licence\n,MIT\n", "a line has no file_name"),
        ("file_name,licence\n0.png,MIT\n./0.png,GPL\n", "two lines give different values for 0.png"),
        ("file_name,licence\n0.png,\xff\n", "invalid UTF8"),
    ],
)
def test_metadata_that_cannot_be_taken_is_refused(pictures: Path, said: str, reason: str) -> None:
    (pictures / "cats" / "metadata.csv").write_bytes(said.encode("latin-1"))
    assert reason in refused("licence", pictures)


def test_metadata_that_contradicts_is_refused(pictures: Path) -> None:
    cats = pictures / "cats"
    pq.write_table(pa.table({"file_name": ["0.png"], "size": [3], "boxes": [[1, 2]]}), cats / "metadata.parquet")
    assert "column 'size' is int64 in" in refused("size", pictures)
    assert "takes text, numbers and booleans" in refused("boxes", pictures)
    (cats / "metadata.jsonl").write_text('{"file_name": "0.png"}\n[]\n')
    assert "describe the same folder" in refused("licence", pictures)
    (cats / "metadata.parquet").unlink()
    assert "line 2: not a JSON object: list" in refused("licence", pictures)


# --- one dataset -----------------------------------------------------------------------------------------------------


def test_what_is_kept_is_part_of_what_a_dataset_is(pictures: Path, out: Path) -> None:
    def again(keep: str | None) -> Any:
        return run(SMALL, pictures, out=out, keep=keep, copies=2, workers=1)

    before, metadata = checksums(out), pictures / "metadata.csv"
    assert again(KEEP).status == "already finished"
    for other in ("licence", "licence,folder,caption,size", None):
        with pytest.raises(UserError, match="keep is") as told:
            again(other)
        assert told.value.code == 4
    said = metadata.read_text()
    metadata.write_text(said + "new.png,MIT,of a file that is not there yet\n")
    assert again(KEEP).status == "already finished"
    metadata.write_text(said.replace("CC0", "CC1"))
    with pytest.raises(UserError, match=r"`licence` of cats/0\.png is 'CC0', but 'CC1' in the source") as told:
        again(KEEP)
    assert told.value.code == 4
    found = verify(out, pictures, workers=1)
    assert {fault["where"] for fault in found.faults} == {"cats/0.png"}
    assert "`licence` is 'CC0'; its source gives 'CC1'" in found.faults[0]["reason"]
    assert checksums(out) == before


def test_a_source_that_grows_grows_its_metadata(pictures: Path, out: Path) -> None:
    before = checksums(out)
    picture(pictures / "new" / "0.png", np.random.default_rng(9))
    with (pictures / "metadata.csv").open("a") as file:
        file.write("new/0.png,newer,\n")
    run(SMALL, pictures, out=out, keep=KEEP, copies=2, workers=1, extend=True)
    assert before.items() <= checksums(out).items()
    assert stored(out, "licence")["new/0.png"] == ("newer",)
    assert verify(out, pictures, workers=1).has_no_fault


def test_parts_and_streams_keep_the_same(pictures: Path, out: Path, tmp_path: Path) -> None:
    plan_parts(SMALL, pictures, out=tmp_path / "parts", keep=KEEP, copies=2, workers=1)
    run(SMALL, pictures, out=tmp_path / "parts", keep=KEEP, copies=2, workers=1, part="1/1")
    finish(tmp_path / "parts")
    assert checksums(tmp_path / "parts") == checksums(out)
    rows = pq.read_table(out / "data").to_pylist()
    assert list(stream_rows(SMALL, pictures, keep=KEEP)) == [row for row in rows if not row["copy"]]


def test_verify_finds_a_kept_value_that_was_changed(pictures: Path, out: Path) -> None:
    (path,) = (out / "data").iterdir()
    table = pq.read_table(path)
    rows = table.select(["key", "licence"]).to_pylist()
    changed = pa.array(["mine" if row["key"] == "top.png" else row["licence"] for row in rows])
    table = table.set_column(table.schema.names.index("licence"), table.field("licence"), changed)
    with ShardWriter(path, table.schema) as file:
        for batch in table.to_batches():
            file.write(batch)
    assert [fault["where"] for fault in verify(out, workers=1).faults] == [f"data/{path.name}"]
    found = verify(out, pictures, workers=1)
    assert found.false == 8
    assert "`licence` is 'mine'; its source gives 'MIT'" in {f["where"]: f["reason"] for f in found.faults}["top.png"]


def test_all_that_tells_of_a_dataset_tells_of_what_is_kept(pictures: Path, out: Path, tmp_path: Path) -> None:
    rows = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"]
    assert set(rows["folder"]) == {"cats", "dogs", "deep", "C#", None}
    card = (out / "README.md").read_text()
    assert "| `licence` | `string` | kept |" in card
    assert f"--keep {KEEP}" in card
    loader = card.partition("select_columns(")[2].partition(")")[0]
    assert json.loads(loader) == ["label", "image"], "no batch is made of what may be null"
    told = describe(open_dataset(out))
    assert told["kept"] == dict.fromkeys(KEEP.split(","), "string")
    assert "caption: string" in description_table(told)["kept"]
    assert "nearer" in preview(out).read_text()
    assert sum(line.startswith("  licence: ") for line in show(SMALL, str(pictures), keep="licence")) == 3
    assert dry_run(SMALL, [pictures], keep=KEEP)["rows"] == 32


def test_the_command(pictures: Path, pseudolabel: Command) -> None:
    refused = pseudolabel("rotate", "pictures", "--keep", "folder, speaker")
    assert refused.returncode == 2
    assert "among: caption, file_name, folder, licence, size;" in refused.stderr
    assert len(refused.stderr.splitlines()) <= 2
