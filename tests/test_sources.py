"""The same files, wherever they lie: the same keys and rows. And what is wrong with an archive, said of each."""

from __future__ import annotations

import io
import logging
import os
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import FIXTURES, arguments, skipped, sums
from faulty import Faulty

from pseudolabel import TASKS, Refused, run
from pseudolabel.readers import files
from pseudolabel.readers.places import opened
from pseudolabel.sample import Sample, Skipped, Unusable, splits
from pseudolabel.source import resolve
from pseudolabel.stream import rows
from pseudolabel.verify import verify

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

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
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


# --- what is wrong with them -----------------------------------------------------------------------------------------


def picture(number: int) -> bytes:
    return sorted((FIXTURES / "images" / "hills").glob("[0-9]*.jpg"))[number].read_bytes()


def check(source: Path, used: set[str], reasons: dict[str, str]) -> None:
    """These keys are used, the others left out for these reasons."""
    reader = TASKS["jigsaw"]().reader()
    found = [file for file in files.find([source], reader.suffixes) if file.candidate]
    items = list(reader.read((e for file in found for e in reader.scan(*file[:3])), splits(0)[0]))
    said = {item.key: item.reason for item in items if isinstance(item, Skipped)}
    assert sorted(item.key for item in items if isinstance(item, Sample)) == sorted(used)
    assert set(said) == set(reasons)
    for key, reason in reasons.items():
        assert reason in said[key], key


def test_members_of_a_zip_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "pics.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a/0.jpg", "../up.jpg", "/etc/absolute.jpg", "./a/0.jpg"):
            archive.writestr(name, picture(0))
        archive.writestr("a/bomb.jpg", bytes(100 << 20))
        archive.writestr("a/lies.jpg", picture(2))
        archive.writestr("a/encrypted.jpg", picture(3))
        archive.writestr("a/lzma.jpg", picture(3), zipfile.ZIP_LZMA)
        archive.writestr("a/flipped.jpg", picture(4), zipfile.ZIP_STORED)
        archive.writestr("a/b/.hidden.jpg", picture(4))
        archive.writestr("a/nested.zip", b"PK")
        archive.writestr("b%#1.jpg", picture(5))
    data = bytearray(path.read_bytes())
    for name, place, value in ((b"a/lies.jpg", 24, 10), (b"a/encrypted.jpg", 8, 1)):  # size, and flags, of the list
        at = data.rindex(name) - 46 + place
        data[at : at + 2] = value.to_bytes(2, "little")
    data[data.index(picture(4)) + 5000] ^= 255
    path.write_bytes(data)
    reasons = {
        "../up.jpg": "no path within the archive",
        "/etc/absolute.jpg": "no path within the archive",
        "a/0.jpg%2": "another of this name",
        "a/bomb.jpg": "200 times its packed size",
        "a/lies.jpg": "another size than the archive says",
        "a/encrypted.jpg": "encrypted",
        "a/lzma.jpg": "method 14",
        "a/flipped.jpg": "its checksum differs",
    }
    check(path, {"a/0.jpg", "b%25%231.jpg"}, reasons)


def packed(path: Path, mode: str, members: dict[str, bytes | tarfile.TarInfo]) -> bytes:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = 0 if isinstance(content, tarfile.TarInfo) else len(content)
            archive.addfile(info, None if isinstance(content, tarfile.TarInfo) else io.BytesIO(content))
    return path.read_bytes()


@pytest.mark.parametrize("ends", ["tar", "tar.gz"])
def test_members_of_a_tar_that_are_refused(ends: str, tmp_path: Path) -> None:
    link = tarfile.TarInfo("link.jpg")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    long = f"{'x' * 90}/{'y' * 90}/ü.jpg"
    members = {"0.jpg": picture(0), "./0.jpg": picture(1), "a/../../up.jpg": picture(1), "/absolute.jpg": picture(1)}
    members |= {"link.jpg": link, long: picture(2), "empty.jpg": b"", "notes.doc": b"x"}  # type: ignore[dict-item]
    packed(tmp_path / f"pics.{ends}", f"w:{ends[4:]}", members)  # type: ignore[arg-type]
    reasons = {
        "0.jpg%2": "another of this name",
        "a/../../up.jpg": "no path within the archive",
        "/absolute.jpg": "no path within the archive",
        "link.jpg": "a link, to /etc/passwd",
        "empty.jpg": "empty file",
    }
    check(tmp_path / f"pics.{ends}", {"0.jpg", long}, reasons)


def test_archives_that_are_damaged(tmp_path: Path, source: Any) -> None:
    """What comes before a damage is used, of a tar; all of them are named, and a folder of them is read."""
    folder, members = tmp_path / "folder", {f"{i}.jpg": picture(i) for i in range(4)}
    folder.mkdir()
    tar = packed(tmp_path / "a.tar", "w", members)  # type: ignore[arg-type]
    (folder / "cut.tar").write_bytes(tar[: tar.index(picture(2)) + 100])
    (folder / "border.tar").write_bytes(tar[: tar.index(picture(2)) - 512])
    (folder / "header.tar").write_bytes(tar.replace(b"2.jpg\0", b"2.jpg?", 1))
    tgz = packed(tmp_path / "a.tgz", "w:gz", members)  # type: ignore[arg-type]
    (folder / "cut.tgz").write_bytes(tgz[: len(tgz) * 3 // 5])
    (folder / "flipped.tgz").write_bytes(tgz[:-6] + bytes([tgz[-6] ^ 1]) + tgz[-5:])
    packed(folder / "bomb.tar.gz", "w:gz", {"0.jpg": picture(0), "1.jpg": bytes(70 << 20), "2.jpg": picture(2)})
    plain_bytes(source("images"), tmp_path)
    (folder / "footer.parquet").write_bytes((tmp_path / "f.parquet").read_bytes()[:-100])
    pq.write_table(pa.table({"text": ["a"], "n": [1]}), folder / "text.parquet")
    pq.write_table(pa.table({"a": [b"a"], "b": [b"b"]}), folder / "two.parquet")
    structs = pa.array([{"bytes": picture(0), "path": "../0.jpg"}, {"bytes": None, "path": "1.jpg"}, None], MEDIA)
    pq.write_table(pa.table({"image": structs}), folder / "rows.parquet")
    (folder / "cut.zip").write_bytes(Path(zipped(source("images"), tmp_path, 8)).read_bytes()[:-30])
    (folder / "no.zip").write_bytes(b"PK, or so it says")
    (folder / "empty.tar").write_bytes(b"")
    used = {f"{name}/{i}.jpg" for name in ("cut.tar", "border.tar", "header.tar", "cut.tgz") for i in (0, 1)}
    used |= {f"flipped.tgz/{i}.jpg" for i in range(4)} | {"rows.parquet/0", "bomb.tar.gz/0.jpg"}
    reasons = {
        "cut.tar/2.jpg": "damaged from byte 100 on",
        "cut.tar": "unexpected end of data",
        "border.tar": "without the mark",
        "header.tar": "no header of a file",
        "cut.tgz/2.jpg": "damaged from byte",
        "cut.tgz": "damaged from byte",
        "flipped.tgz": "damaged: its checksum differs",
        "bomb.tar.gz/1.jpg": "200 times its packed size",
        "bomb.tar.gz": "from here on it unpacks to more than 64 MB",
        "footer.parquet": "damaged Parquet",
        "text.parquet": "no column of media to read; it has text: string, n: int64",
        "two.parquet": "several columns of media to read; it has a: binary, b: binary",
        "rows.parquet/1.jpg": "no bytes of it",
        "rows.parquet/2": "no bytes of it",
        "cut.zip": "no zip archive, or a damaged one",
        "no.zip": "no zip archive, or a damaged one",
        "empty.tar": "empty file",
    }
    check(folder, used, reasons)
    task, ended = TASKS["jigsaw"](), []
    for workers in (1, 2, 1):
        out = tmp_path / f"out-{workers}"
        ended.append(run(task, folder, out=out, workers=workers, max_skipped=str(len(reasons))).status)
        assert sums(out) == sums(tmp_path / "out-1")
        assert skipped(out) == skipped(tmp_path / "out-1")
    assert ended == ["finished", "finished", "already finished"]
    proven = verify(tmp_path / "out-1", folder, workers=1)
    assert proven.sound
    assert proven.true == len(used)


# --- lists, and stores -----------------------------------------------------------------------------------------------


def keys(source: str, suffixes: Any = (".jpg",)) -> dict[str, str]:
    """Of each candidate, how it begins or why it cannot be opened."""
    told = {}
    for file in files.find(resolve(source), suffixes):
        if file.candidate:
            try:
                with opened(file.where) as stream:
                    told[file.key] = stream.read(2).hex()
            except Unusable as bad:
                told[file.key] = str(bad)
    return told


def test_keys_of_a_list(tmp_path: Path) -> None:
    """As written, where all lies below the list; else from where they part."""
    for name in ("lists/a/0.jpg", "lists/1.jpg", "other/2.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(picture(0))
    (tmp_path / "lists" / "pics.zip").write_bytes(Path(zipped(tmp_path / "other", tmp_path, 0)).read_bytes())
    inside = ["./a/0.jpg", "", "1.jpg", "a//0.jpg", "a/gone.jpg", "a", "pics.zip", "gone.zip", "notes.doc"]
    (tmp_path / "lists" / "files.txt").write_text("\r\n".join(inside))
    there = {"a/0.jpg": "ffd8", "1.jpg": "ffd8", "pics.zip/2.jpg": "ffd8"}
    lost = {"a/gone.jpg": "cannot be found: no such file or directory"}
    found = keys(f"@{tmp_path}/lists/files.txt")
    assert found == {
        **there,
        **lost,
        "gone.zip": lost["a/gone.jpg"],
        "a/0.jpg%2": "there is another of this name before",
    }
    (tmp_path / "lists" / "files.txt").write_text(f"a/0.jpg\n../other/2.jpg\n{tmp_path}/lists/1.jpg\n")
    assert list(keys(f"@{tmp_path}/lists/files.txt")) == ["lists/a/0.jpg", "other/2.jpg", "lists/1.jpg"]


def test_standard_input(source: Any, tmp_path: Path) -> None:
    """It can be read once only, and `cluster` looks at its source more often."""
    pictures = [path for path in source("images").iterdir() if path.suffix == ".jpg"]
    words, listed = arguments("cluster", "-", "-k", 2, "--json"), "\n".join(map(str, pictures))
    lacking = subprocess.run(words, input=listed, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (lacking.returncode, "give one with --out DIR" in lacking.stderr) == (2, True)
    words += ["--out", "out", "--max-skipped", "1"]
    done = subprocess.run(words, input=listed, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    made = pq.read_table(tmp_path / "out" / "data", columns=["key"])["key"].to_pylist()
    assert set(made) == {path.name for path in pictures} - {"broken.jpg"}


def test_a_store_on_a_bad_day(source: Any, store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some requests end in 500, a reset, or a slow answer: the rows are the same. What is gone is skipped."""
    address = sent(source("images"), f"{store}/bad")
    listing = tmp_path / "f.txt"
    listing.write_text(f"{address}/00.jpg\n{address}/gone.jpg\n")
    proxy = Faulty(int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2]), each=6)
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.address)
    s3fs_forgets()
    assert made("jigsaw", address) == made("jigsaw", source("images"))
    assert keys(f"@{listing}") == {"00.jpg": "ffd8", "gone.jpg": "gone since the scan"}
    assert proxy.faults > 3
    proxy.gone = "/"
    monkeypatch.setattr("pseudolabel.addresses.WAITS", (0.1,))
    with pytest.raises(OSError, match="the store fails"):
        made("jigsaw", address)
    proxy.shutdown()
    proxy.server_close()
    s3fs_forgets()


def s3fs_forgets() -> None:
    """An open store knows its endpoint."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def test_over_http(source: Any, tmp_path: Path) -> None:
    """From a server that knows no ranges. Queries are no part of keys, and passwords are refused."""
    zipped(source("images"), tmp_path, zipfile.ZIP_DEFLATED)
    (tmp_path / "0.jpg").write_bytes(picture(0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    assert made("jigsaw", f"{address}/f.zip") == made("jigsaw", source("images"))
    (tmp_path / "f.txt").write_text(f"{address}/0.jpg?token=secret\n{address}/1.jpg\n")
    assert keys(f"@{tmp_path}/f.txt") == {"0.jpg": "ffd8", "1.jpg": "gone since the scan"}
    with pytest.raises(Refused, match="does not exist"):
        resolve(f"{address}/1.zip")
    with pytest.raises(Refused, match="no password"):
        resolve("http://me:secret@localhost/f.zip")
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that says nothing of it."""

    def log_message(self, *_: Any) -> None: ...
