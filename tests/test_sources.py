"""The same files, wherever they lie: the same keys and rows. And what is wrong with an archive, said of each."""

from __future__ import annotations

import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FIXTURES

from pseudolabel import TASKS
from pseudolabel.stream import rows

MEDIA = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder of all the fixtures of a modality."""

    def flat(modality: str) -> Path:
        folder = tmp_path_factory.getbasetemp() / "flat" / modality
        if not folder.exists():
            folder.mkdir(parents=True)
            for path in (FIXTURES / modality).rglob("*.*"):
                (folder / path.name).write_bytes(path.read_bytes())
        return folder

    return flat


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a bucket, in a store that speaks S3 over HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    names = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.MonkeyPatch.context() as environment:
        for name, value in {**names, "AWS_DEFAULT_REGION": "us-east-1"}.items():
            environment.setenv(name, value)
        import s3fs

        s3fs.S3FileSystem().mkdir("things")
        yield "s3://things"
    server.stop()


# --- the ways in which a folder is packed -----------------------------------------------------------------------------


def zipped(folder: Path, to: Path, method: int) -> str:
    with zipfile.ZipFile(to / "f.zip", "w", method) as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"./{path.name}")
        archive.writestr("__MACOSX/._00.jpg", b"no picture")
    return str(to / "f.zip")


def tarred(folder: Path, to: Path, name: str) -> str:
    with tarfile.open(to / name, "w:gz" if name.endswith("gz") else "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, f"./{path.name}")
    return str(to / name)


def webdataset(folder: Path, to: Path) -> str:
    from webdataset import TarWriter

    with TarWriter(str(to / "shard-000000.tar")) as shard:
        for path in sorted(folder.iterdir()):
            stem, _, ends = path.name.partition(".")
            shard.write({"__key__": stem, ends: path.read_bytes()})
    return str(to / "shard-000000.tar")


def hugging_face(folder: Path, to: Path) -> str:
    import datasets

    features = datasets.Features({"id": datasets.Value("int64"), "thing": datasets.Image()})
    table = datasets.Dataset.from_dict({"id": range(len(media(folder))), "thing": media(folder)}, features)
    table.to_parquet(str(to / "f.parquet"), batch_size=5)
    return str(to / "f.parquet")


def media(folder: Path) -> list[dict[str, Any]]:
    return [{"bytes": path.read_bytes(), "path": path.name} for path in sorted(folder.iterdir())]


def structs(folder: Path, to: Path) -> str:
    """A table of two kinds of media, of which the reader wants one."""
    column = pa.array(media(folder), MEDIA)
    other = pa.array([{"bytes": b"nothing", "path": "0.jpg"}] * len(column), MEDIA)
    pq.write_table(pa.table({"poster_image": other, folder.name: column}), to / "f.parquet", row_group_size=4)
    return str(to / "f.parquet")


def plain_bytes(folder: Path, to: Path) -> str:
    paths = sorted(folder.iterdir())
    columns = {"file_name": [path.name for path in paths], "data": [path.read_bytes() for path in paths]}
    pq.write_table(pa.table(columns), to / "f.parquet", row_group_size=7)
    return str(to / "f.parquet")


def listed(folder: Path, to: Path) -> str:
    lines = [os.path.relpath(path, to) for path in folder.iterdir()]
    (to / "f.txt").write_text("\n".join(["", *lines]), "utf-8")
    return f"@{to / 'f.txt'}"


def sent(folder: Path, address: str) -> str:
    import s3fs

    s3fs.S3FileSystem().put(f"{folder}/", f"{address}/{folder.name}/", recursive=True)
    s3fs.S3FileSystem().pipe(f"{address}/{folder.name}/old/_manifest.json", b"{}")
    s3fs.S3FileSystem().pipe(f"{address}/{folder.name}/old/data.jpg", b"no picture")
    return f"{address}/{folder.name}"


PACKED: dict[str, Callable[..., str]] = {
    "stored zip": lambda folder, to, _: zipped(folder, to, zipfile.ZIP_STORED),
    "deflated zip": lambda folder, to, _: zipped(folder, to, zipfile.ZIP_DEFLATED),
    "tar": lambda folder, to, _: tarred(folder, to, "f.tar"),
    "tar.gz": lambda folder, to, _: tarred(folder, to, "f.tar.gz"),
    "webdataset": lambda folder, to, _: webdataset(folder, to),
    "datasets": lambda folder, to, _: hugging_face(folder, to),
    "structs": lambda folder, to, _: structs(folder, to),
    "bytes": lambda folder, to, _: plain_bytes(folder, to),
    "list": lambda folder, to, _: listed(folder, to),
    "store": lambda folder, to, store: sent(folder, store),
    "zip in store": lambda folder, to, store: sent(Path(zipped(folder, to, 8)).parent, store) + "/f.zip",
    "tar.gz in store": lambda folder, to, store: sent(Path(tarred(folder, to, "f.tgz")).parent, store) + "/f.tgz",
}


def made(task: str, source: object, **options: Any) -> dict[str, Any]:
    """The rows, by their key and by which of its rows it is."""
    found: dict[str, Any] = {}
    for row in rows(TASKS[task](**options), source):
        found[f"{row['key']} {sum(key.startswith(row['key'] + ' ') for key in found)}"] = repr(row)
    return found


@pytest.mark.parametrize("kind", sorted(set(PACKED) - {"structs"}))
def test_the_same_pictures_from_wherever(kind: str, source: Any, store: str, tmp_path: Path) -> None:
    expected = made("jigsaw", source("images"))
    assert len(expected) == 24
    assert made("jigsaw", PACKED[kind](source("images"), tmp_path, store)) == expected


@pytest.mark.parametrize("kind", ["deflated zip", "tar.gz", "structs", "store", "zip in store"])
@pytest.mark.parametrize(("task", "modality"), [("mask-audio", "audio"), ("shuffle-frames", "video")])
def test_the_same_sound_and_films(task: str, modality: str, kind: str, source: Any, store: str, tmp_path: Path) -> None:
    expected = made(task, source(modality))
    assert expected
    assert made(task, PACKED[kind](source(modality), tmp_path, store)) == expected


@pytest.mark.parametrize("kind", ["deflated zip", "tar", "tar.gz", "list", "store"])
def test_the_same_text(kind: str, source: Any, store: str, tokenizer: Path, tmp_path: Path) -> None:
    """Plain, JSON lines and gzipped ones."""
    options = {"tokenizer": str(tokenizer), "length": 64}
    expected = made("mask-text", source("text"), **options)
    assert {key.partition("#")[0] for key in expected} >= {"letters.jsonl", "tales-0.txt", "packed.txt.gz"}
    assert made("mask-text", PACKED[kind](source("text"), tmp_path, store), **options) == expected
