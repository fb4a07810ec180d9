"""The same files, wherever they lie: the same keys and rows. And what is wrong with an archive, said of each."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import subprocess
import sys
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
from faulty import Faulty
from runs import FIXTURES, Command, arguments, skipped

from pseudolabel import TASKS, UserError, run
from pseudolabel.contracts import Sample, Skipped, UnusableSample, splits
from pseudolabel.engine.scan import resolve_sources
from pseudolabel.engine.stream import rows
from pseudolabel.inspection.verify import verify
from pseudolabel.readers.metadata import sidecars
from pseudolabel.readers.metadata import webdataset as webdataset_reader
from pseudolabel.readers.sources import (
    archives,
    decompression_bombs,
    files,
    gzip_index,
    object_store,
    opening,
    parquet_media,
)
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file
from pseudolabel.readers.text.reader import TextOptions, TextReader
from pseudolabel.testing.checks import checksums

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
    found = [file for file in files.find_files([source], reader.suffixes) if file.candidate]
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
        "../up.jpg": "not a path inside the archive",
        "/etc/absolute.jpg": "not a path inside the archive",
        "a/0.jpg%2": "an earlier file has the same name",
        "a/bomb.jpg": "200 times its packed size",
        "a/lies.jpg": "the unpacked size differs",
        "a/encrypted.jpg": "encrypted",
        "a/lzma.jpg": "method 14",
        "a/flipped.jpg": "damaged: checksum mismatch",
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
        "0.jpg%2": "an earlier file has the same name",
        "a/../../up.jpg": "not a path inside the archive",
        "/absolute.jpg": "not a path inside the archive",
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
    with zipfile.ZipFile(tmp_path / "whole.zip", "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    (folder / "beheaded.zip").write_bytes((tmp_path / "whole.zip").read_bytes()[len(picture(0)) + 9 :])
    (folder / "no.zip").write_bytes(b"PK, or so it says")
    (folder / "empty.tar").write_bytes(b"")
    used = {f"{name}/{i}.jpg" for name in ("cut.tar", "border.tar", "header.tar", "cut.tgz") for i in (0, 1)}
    used |= {f"beheaded.zip/{i}.jpg" for i in (1, 2, 3)}
    used |= {f"flipped.tgz/{i}.jpg" for i in range(4)} | {"rows.parquet/0", "bomb.tar.gz/0.jpg"}
    reasons = {
        "cut.tar/2.jpg": "damaged from byte 100 on",
        "cut.tar": "unexpected end of data",
        "border.tar": "without the end-of-archive marker",
        "header.tar": "no valid header",
        "cut.tgz/2.jpg": "damaged from byte",
        "cut.tgz": "damaged from byte",
        "flipped.tgz": "damaged: checksum mismatch",
        "bomb.tar.gz/1.jpg": "200 times its packed size",
        "bomb.tar.gz": "reading stopped: the archive unpacks to more than 64 MB",
        "footer.parquet": "damaged Parquet",
        "text.parquet": "no media column: the table has text: string, n: int64",
        "two.parquet": "several media columns: the table has a: binary, b: binary",
        "rows.parquet/1.jpg": "the row has no bytes",
        "rows.parquet/2": "the row has no bytes",
        "beheaded.zip/0.jpg": "the beginning of the archive is missing",
        "cut.zip": "not a zip archive, or damaged",
        "no.zip": "not a zip archive, or damaged",
        "empty.tar": "empty file",
    }
    check(folder, used, reasons)
    task, ended = TASKS["jigsaw"](), []
    for workers in (1, 2, 1):
        out = tmp_path / f"out-{workers}"
        ended.append(run(task, folder, out=out, workers=workers, max_skipped=str(len(reasons))).status)
        assert checksums(out) == checksums(tmp_path / "out-1")
        assert skipped(out) == skipped(tmp_path / "out-1")
    assert ended == ["finished", "finished", "already finished"]
    proven = verify(tmp_path / "out-1", folder, workers=1)
    assert proven.has_no_fault
    assert proven.true == len(used)


# --- what changes, and what lies -------------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["tar", "tar.gz", "zip", "parquet"])
def test_what_is_packed_anew_is_not_read_under_the_old_keys(ends: str, tmp_path: Path) -> None:
    path, things = tmp_path / f"a.{ends}", {f"{i}.jpg": os.urandom(3000) for i in range(4)}

    def pack(names: list[str]) -> None:
        if ends == "parquet":
            pq.write_table(pa.table({"image": [things[name] for name in names], "path": names}), path)
        elif ends == "zip":
            with zipfile.ZipFile(path, "w") as archive:
                for name in names:
                    archive.writestr(name, things[name])
        else:
            packed(path, f"w:{ends[4:]}", {name: things[name] for name in names})

    pack(sorted(things))
    planned = list(files.find_files([path], [".jpg"]))
    for file in planned:
        with open_file(file.where) as stream:
            assert stream.read() == things[file.key]
    pack(sorted(things, reverse=True))
    for file in planned:
        with pytest.raises(UnusableSample, match="changed since the scan"):
            open_file(file.where)


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    """In archives, beside them, and in lists they are spelt as of files in folders; what is no sign of a name goes."""
    link, zero = tarfile.TarInfo("link.jpg"), tarfile.TarInfo("zero.jpg")
    link.type, link.linkname, link.pax_headers = tarfile.SYMTYPE, "x", {"linkpath": "a\0b.jpg"}
    zero.pax_headers = {"path": "z\0.jpg"}
    members = {"\udce9.cls": b"7", "\udce9.jpg": picture(0), "link.jpg": link, "zero.jpg": zero}
    packed(tmp_path / "a.tar", "w:", members)  # type: ignore[arg-type]
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbfa.tar\n\xe9.jpg\n")
    assert keys(f"@{tmp_path}/b.txt") == {
        "a.tar/%E9.jpg": "ffd8",
        "a.tar/link.jpg": "a link, to ab.jpg; pack the file itself",
        "a.tar/z%00.jpg": "its name is not a path inside the archive",
        "%E9.jpg": "cannot be found: no such file or directory",
    }
    assert sidecars.Table(str(tmp_path / "a.tar"), "").lines({"cls": "string"}).of("\udce9.jpg") == {"cls": "7"}


def test_sizes_that_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No more is read than what is said to be there, and no more is said than can be."""
    with zipfile.ZipFile(tmp_path / "zero.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.jpg", bytes(1 << 20))
    data = bytearray((tmp_path / "zero.zip").read_bytes())
    at = data.rindex(b"a.jpg") - 46 + 24
    data[at : at + 4] = bytes(4)
    (tmp_path / "zero.zip").write_bytes(data)
    long = tarfile.TarInfo("././@LongLink")
    long.type, long.size = tarfile.GNUTYPE_LONGNAME, 2 << 20
    (tmp_path / "name.tar").write_bytes(long.tobuf(tarfile.GNU_FORMAT) + bytes(3 << 20))
    assert keys(str(tmp_path)) == {
        "zero.zip/a.jpg": "damaged: the unpacked size differs from the archive's directory",
        "name.tar": "the headers of the archive claim more than 1 MB",
    }
    packed_zip = tmp_path / "many.zip"
    with zipfile.ZipFile(packed_zip, "w") as archive:
        for i in range(5):
            archive.writestr(f"{i}.jpg", picture(i))
    with monkeypatch.context() as few:
        few.setattr(archives, "MAX_ZIP_MEMBERS", 5)
        assert len(keys(str(packed_zip))) == 5
        few.setattr(archives, "MAX_ZIP_MEMBERS", 4)
        assert keys(str(packed_zip)) == {"many.zip": "more than 4 members; split the archive, unpack it, or pack a tar"}
    packed_zip.unlink()
    monkeypatch.setattr(archives, "MAX_DIRECTORY_BYTES", 50)
    monkeypatch.setattr(webdataset_reader, "MAX_FIELD_BYTES", 10)
    assert "the headers of the archive claim" in keys(str(tmp_path / "zero.zip"))["zero.zip"]
    packed(tmp_path / "shard.tar", "w:", {"0.cls": b"1" * 11, "1.cls": b"1"})
    (_, large), (_, small) = webdataset_reader.values(str(tmp_path / "shard.tar"), ["cls"])
    assert "at most" in str(large)
    assert small == {"cls": "1"}


def test_tables_that_swell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One picture for thousands of rows, and a page of nothing."""
    for module, name in ((decompression_bombs, "MAX_UNPACKED_BYTES"), (parquet_media, "CACHE_BYTES")):
        monkeypatch.setattr(module, name, 1 << 16)
    same = pa.DictionaryArray.from_arrays(pa.array([0] * 300, pa.int32()), pa.array([os.urandom(10_000)]))
    pq.write_table(pa.table({"image": same}), tmp_path / "same.parquet", store_schema=False)
    page = pa.table({"image": [bytes(1 << 13)] * 300})
    pq.write_table(page, tmp_path / "page.parquet", compression="zstd", use_dictionary=False)
    told = keys(str(tmp_path))
    assert told["same.parquet/100"] != told["same.parquet/299"]
    assert "reading stopped" in told["same.parquet/299"]
    assert all("200 times its packed size" in told[f"page.parquet/{i}"] for i in range(300))


def test_rows_of_any_name(tmp_path: Path) -> None:
    """None vanishes: where a name is no file's, or was there before, the row's number is it."""
    names = ["a.jpg", None, "__MACOSX/a.jpg", "a//b.jpg", "a/b.jpg", "x/", ".hidden.jpg", "8", None]
    pq.write_table(pa.table({"image": [picture(0)] * 9, "path": names}), tmp_path / "a.parquet")
    assert list(keys(str(tmp_path / "a.parquet"))) == [
        *("a.jpg", "1", "__MACOSX/a.jpg", "a/b.jpg", "4", "x", "6", "8", "8+"),
    ]


def test_members_of_a_zip_that_only_look_like_files(tmp_path: Path) -> None:
    link, windows = zipfile.ZipInfo("link.jpg"), zipfile.ZipInfo("up.jpg")
    link.create_system, link.external_attr = 3, 0o120777 << 16
    windows.create_system = 0
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "a.jpg")
        archive.writestr(windows, picture(0))
        archive.writestr("one.jpg", picture(1))
        archive.writestr("other.jpg", picture(1))
        archive.infolist()[3].header_offset = archive.infolist()[2].header_offset
        windows.filename = "..\\up.jpg"
    assert keys(str(tmp_path / "a.zip")) == {
        "link.jpg": "a link; pack the file itself",
        "../up.jpg": "its name is not a path inside the archive",
        "one.jpg": "it overlaps another member of the archive",
        "other.jpg": "it overlaps another member of the archive",
    }


@pytest.mark.parametrize("ends", ["tar", "tar.gz"])
def test_two_tars_in_one(ends: str, tmp_path: Path) -> None:
    both = [packed(tmp_path / f"{i}.tar", "w", {f"{i}.jpg": picture(i)}) for i in range(2)]
    (tmp_path / f"a.{ends}").write_bytes(gzip.compress(b"".join(both)) if ends == "tar.gz" else b"".join(both))
    assert keys(str(tmp_path / f"a.{ends}")) == {
        "0.jpg": "ffd8",
        f"a.{ends}": "data follows the end-of-archive marker; pack the archive again",
    }


def test_a_tar_in_several_gzip_streams(tmp_path: Path) -> None:
    """As `pigz` and `bgzip` write them: each has a checksum."""
    tar = packed(tmp_path / "a.tar", "w", {f"{i}.jpg": bytes([i]) * 1000 for i in range(3)})
    streams = [gzip.compress(tar[:2000], 0), gzip.compress(tar[2000:], 0), gzip.compress(b"")]
    (tmp_path / "a.tar.gz").write_bytes(b"".join(streams))
    there = {f"{i}.jpg": f"{i:02}{i:02}" for i in range(3)}
    assert keys(str(tmp_path / "a.tar.gz")) == there
    (tmp_path / "a.tar.gz").write_bytes(b"".join(streams).replace(bytes([1]) * 100, bytes([1]) * 99 + b"9", 1))
    told = keys(str(tmp_path / "a.tar.gz"))
    assert "CRC" in told.pop("a.tar.gz")
    assert told == there


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_text_in_a_zip_that_is_read_in_ranges(method: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ranges lie together in the plan, and a damage anywhere is told."""
    monkeypatch.setattr(opening, "MAX_INFLATED_BYTES", 1 << 12)
    monkeypatch.setattr(archives, "MAX_INFLATED_BYTES", 1 << 12)
    body = b"".join(b"This is line %d of a text.\n\n" % i for i in range(60_000))
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a.txt", body)
    (file,) = files.find_files([tmp_path / "a.zip"], [".txt"])
    reader = TextReader(TextOptions())
    extents = list(reader.scan(*file[:3]))
    assert len(extents) == 2
    assert {extent.block for extent in extents} == ({"a.txt"} if method else {extent.key for extent in extents})
    read = list(reader.read(extents, splits(0)[0]))
    assert b"".join(text + b"\n\n" for item in read for text in item.payload.texts()) == body
    data = bytearray((tmp_path / "a.zip").read_bytes())
    for at in (14, data.rindex(b"a.txt") - 46 + 16) if method else (data.index(b"line 50000 of"),):
        data[at] ^= 1  # the text, or both places of its checksum
    (tmp_path / "a.zip").write_bytes(data)
    (file,) = files.find_files([tmp_path / "a.zip"], [".txt"])
    (bad, *_) = reader.read(reader.scan(*file[:3]), splits(0)[0])
    assert bad.reason == "damaged: checksum mismatch"


@pytest.mark.parametrize("kind", ["deflated zip", "tar.gz", "datasets", "bytes"])
@pytest.mark.parametrize("room", [1, 8])
def test_the_same_where_it_is_larger_than_what_is_kept(
    room: int, kind: str, source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stretches, blocks, seek points and spans of rows, with room for a few KB; and with none for seek points."""
    expected = made("jigsaw", source("images"))
    for module, name, size in (
        *((module, "STRETCH_BYTES", room << 13) for module in (gzip_index, archives)),
        *((module, "MAX_INFLATED_BYTES", room << 10) for module in (opening, archives)),
        *((gzip_index, name, room << 11) for name in ("PIECE_BYTES", "MIN_PIECE_BYTES")),
        (gzip_index, "SEEK_POINT_BYTES", room << 16),
        *((parquet_media, "CACHE_BYTES", room << 12), (archives, "MAX_SEEK_POINT_BYTES", room - 1)),
    ):
        monkeypatch.setattr(module, name, size)
    assert made("jigsaw", PACKED[kind](source("images"), tmp_path, "")) == expected


# --- lists, and stores -----------------------------------------------------------------------------------------------


def keys(source: str, suffixes: Any = (".jpg",)) -> dict[str, str]:
    """Of each candidate, how it begins or why it cannot be opened."""
    told = {}
    for file in files.find_files(resolve_sources(source), suffixes):
        if file.candidate:
            try:
                with open_file(file.where) as stream:
                    told[file.key] = stream.read(2).hex()
            except UnusableSample as bad:
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
        "a/0.jpg%2": "an earlier file has the same name",
    }
    (tmp_path / "lists" / "files.txt").write_text(f"a/0.jpg\n../other/2.jpg\n{tmp_path}/lists/1.jpg\n")
    assert list(keys(f"@{tmp_path}/lists/files.txt")) == ["lists/a/0.jpg", "other/2.jpg", "lists/1.jpg"]


# --- names that do not tell the format -------------------------------------------------------------------------------

ODD_NAMES = ("{}.jpg?width=300", "{}", "{}.jpeg_large", "a.b/{}.", "{}.orig#1", "Dr. {}")


@pytest.fixture
def odd(source: Any, tmp_path: Path) -> Callable[[str], Path]:
    """A folder with the fixtures of a modality under names without a known suffix, and some that are no media."""

    def named(modality: str) -> Path:
        folder = tmp_path / modality
        for number, path in enumerate(sorted(source(modality).iterdir())):
            name = folder / ODD_NAMES[number % len(ODD_NAMES)].format(path.name.replace(".", "-"))
            name.parent.mkdir(parents=True, exist_ok=True)
            name.write_bytes(path.read_bytes())
        for name, data in (("README", b"of a picture"), ("b.pdf", b"%PDF-1.7"), ("c.html", b"<p>"), (".d", picture(0))):
            (folder / name).write_bytes(data)
        return folder

    return named


@pytest.mark.parametrize(
    ("task", "modality"), [("jigsaw", "images"), ("mask-audio", "audio"), ("shuffle-frames", "video")]
)
def test_content_decides_where_a_name_does_not(task: str, modality: str, odd: Any, source: Any) -> None:
    """The samples are those of the same files under their own names."""

    def samples(folder: Path) -> dict[str, bytes]:
        reader = TASKS[task]().reader()
        found = [file for file in files.find_files([folder], reader.suffixes) if file.candidate]
        extents = (e for key, where, size, *_ in found for e in reader.scan(stem(key), where, size))
        items = reader.read(extents, splits(0)[0])
        return {item.key: content(item.payload).tobytes() for item in items if isinstance(item, Sample)}

    def content(payload: Any) -> Any:
        return payload.wave if modality == "audio" else payload.frames if modality == "video" else payload

    def stem(key: str) -> str:
        """Return the number of the file: where the clips of a video begin depends on its key."""
        return key.removeprefix("a.b/").removeprefix("Dr. ").replace("%23", "").partition("-")[0].partition(".")[0]

    expected = samples(source(modality))
    assert expected
    assert samples(odd(modality)) == expected


@pytest.mark.parametrize("kind", ["stored zip", "deflated zip", "tar", "tar.gz", "list"])
def test_odd_names_from_wherever(kind: str, odd: Any, tmp_path: Path) -> None:
    """Members are looked at as files are; the archive is read through once."""
    folder, flat = odd("images"), tmp_path / "flat"
    flat.mkdir()
    for path in folder.rglob("*"):
        if path.is_file() and not path.name.startswith("."):  # which a list would read, for it names them
            path.rename(flat / path.name)
    expected = made("jigsaw", flat)
    assert len(expected) == 24
    (tmp_path / "to").mkdir()
    assert made("jigsaw", PACKED[kind](flat, tmp_path / "to", "")) == expected


def test_a_store_is_looked_into_only_by_name(store: str, tmp_path: Path) -> None:
    """Its folders and archives hold too many objects for a request each."""
    for name in ("b", "c.jpg?width=300", "d.jpg"):
        (tmp_path / "odd" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "odd" / name).write_bytes(picture(0))
    zipped(tmp_path / "odd", tmp_path, zipfile.ZIP_STORED)
    sent(tmp_path / "odd", f"{store}/by-name")
    sent(tmp_path, f"{store}/by-zip")
    folder = f"{store}/by-name/odd"
    assert set(keys(folder)) == {"d.jpg"}
    assert set(keys(f"{store}/by-zip/{tmp_path.name}/f.zip")) == {"d.jpg"}
    assert set(keys(f"{folder}/b")) == {"b"}
    (tmp_path / "f.txt").write_text(f"{folder}/b\n{folder}/gone\n{folder}/b\n{folder}/d.jpg\n")
    assert keys(f"@{tmp_path}/f.txt") == {"b": "ffd8", "b%2": "an earlier file has the same name", "d.jpg": "ffd8"}


def test_only_files_in_doubt_are_opened(tmp_path: Path) -> None:
    """Not those of another modality, of metadata, hidden, or empty. For text also JSON and unnamed compressed files."""
    wanted = {"0.jpg", "b", "c.jpeg_large", "d.JPG_ORIG"}
    known = {
        "a.txt",
        "a.json",
        "a.cls",
        "metadata.csv",
        "c.WAV",
        "d.mp4",
        "e.jsonl.gz",
        "README.md",
        ".hidden",
        "f.zst",
        "g.part",
    }
    for name in wanted | known:
        (tmp_path / name).write_bytes(picture(0))
    (tmp_path / "empty").touch()
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    opened: list[str] = []
    listens = True
    sys.addaudithook(
        lambda event, about: opened.append(str(about[0])) if listens and event == "open" else None  # cannot be removed
    )
    images = {file.key: file for file in files.find_files([tmp_path], TASKS["jigsaw"]().reader().suffixes)}
    seen = {os.path.relpath(path, tmp_path) for path in opened if path.startswith(str(tmp_path))}
    opened.clear()
    text = {file.key for file in files.find_files([tmp_path], TextReader.suffixes) if file.candidate}
    listens = False
    assert {key for key, file in images.items() if file.candidate} == wanted
    assert seen == wanted - {"0.jpg"}
    assert text == {"a.txt", "metadata.csv", "e.jsonl.gz", "README.md"}
    seen = {os.path.relpath(path, tmp_path) for path in opened if path.startswith(str(tmp_path))}
    assert seen == {"a.json", "b", "c.jpeg_large", "d.JPG_ORIG", "f.zst"}
    told = {key: file.ignored_as for key, file in images.items() if not file.candidate}
    assert told.pop("link") == "no regular file"
    assert told.pop("empty") == "without suffix"
    assert {key: name for key, name in told.items() if name != Path(key).suffix.lower()} == {}


def test_lists_that_are_none_and_sources_that_never_end(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(picture(0))
    for number, data in enumerate((b"0.jpg\x001.jpg", "0.jpg\n".encode("utf-16"))):
        (tmp_path / f"{number}.txt").write_bytes(data)
        with pytest.raises(UserError, match="one path per line"):
            keys(f"@{tmp_path}/{number}.txt")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="is a pipe or a device"):
        resolve_sources(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_text(f"{tmp_path}/0.jpg\n"))
    writer.start()
    assert keys(f"@{tmp_path}/pipe") == {"0.jpg": "ffd8"}
    writer.join()


def test_standard_input(source: Any, tmp_path: Path) -> None:
    """It can be read once only, and `cluster` looks at its source more often."""
    pictures = [path for path in source("images").iterdir() if path.suffix == ".jpg"]
    words, listed = arguments("cluster", "-", "-k", 2, "--json"), "\n".join(map(str, pictures))
    lacking = subprocess.run(words, input=listed, cwd=tmp_path, capture_output=True, text=True)
    assert (lacking.returncode, "give one with --out DIR" in lacking.stderr) == (2, True)
    words += ["--out", "out", "--max-skipped", "1"]
    done = subprocess.run(words, input=listed, cwd=tmp_path, capture_output=True, text=True)
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
    monkeypatch.setattr("pseudolabel.storage.retry.BACKOFF_SECONDS", (0.1,))
    with pytest.raises(OSError, match="the store fails"):
        made("jigsaw", address)
    proxy.shutdown()
    proxy.server_close()
    s3fs_forgets()


def s3fs_forgets() -> None:
    """An open store knows its endpoint."""
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()


def test_over_http(source: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a server that knows no ranges. Queries are no part of keys, and passwords are refused."""
    zipped(source("images"), tmp_path, zipfile.ZIP_DEFLATED)
    (tmp_path / "0.jpg").write_bytes(picture(0))
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}"
    assert made("jigsaw", f"{address}/f.zip") == made("jigsaw", source("images"))
    (tmp_path / "image").write_bytes(picture(0))
    (tmp_path / "f.txt").write_text(f"{address}/0.jpg?token=secret\n{address}/1.jpg\n{address}/image?id=3\n")
    assert keys(f"@{tmp_path}/f.txt") == {"0.jpg": "ffd8", "1.jpg": "gone since the scan", "image": "ffd8"}
    monkeypatch.setattr(object_store, "MAX_WHOLE_BYTES", 1 << 10)
    monkeypatch.setattr(object_store, "REQUEST_BYTES", 1 << 10)
    with pytest.raises(UserError, match="supports no range requests; download the file"):
        keys(f"{address}/f.zip")
    with pytest.raises(UserError, match="does not exist"):
        resolve_sources(f"{address}/1.zip")
    with pytest.raises(UserError, match="no password"):
        resolve_sources("http://me:secret@localhost/f.zip")
    server.shutdown()
    server.server_close()


class Quiet(SimpleHTTPRequestHandler):
    """A server of files that says nothing of it."""

    def log_message(self, *_: Any) -> None: ...


def test_a_place_before_the_begin_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    with FaultRecordingFile(open_file(str(tmp_path / "a"))) as file:
        file.seek(-9, os.SEEK_END)
        assert file.fault is None
        assert file.read(2) == b"by"


def test_a_lost_file_counts_what_it_held(here: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As pyarrow and zipfile count it. So `--max-skipped` is right where one file holds most of a source."""
    monkeypatch.setattr(archives, "MAX_ZIP_MEMBERS", 50)
    for name in ("text", "foreign", "images", "table"):
        (tmp_path / name).mkdir()
    texts = [f"{number} rivers were found before" for number in range(2000)]
    for name, column in (("text", "text"), ("foreign", "other")):
        pq.write_table(pa.table({column: texts}), tmp_path / name / "a.parquet", use_dictionary=False, compression=None)
        (tmp_path / name / "b.txt").write_text("one\n\nanother", "utf-8")
    picture = (FIXTURES / "images" / "lakes" / "01.png").read_bytes()
    table = pa.table({"image": pa.array([{"bytes": picture, "path": f"{i}.png"} for i in range(30)], MEDIA)})
    pq.write_table(table, tmp_path / "table" / "a.parquet", row_group_size=10, use_dictionary=False, compression=None)
    (tmp_path / "table" / "b.png").write_bytes(picture)
    for path, place in ((tmp_path / "text" / "a.parquet", 0), (tmp_path / "table" / "a.parquet", 1)):
        data, about = bytearray(path.read_bytes()), pq.read_metadata(path)
        begin = about.row_group(0).column(place).data_page_offset
        data[begin : begin + 9] = bytes(9)  # the header of the page
        path.write_bytes(data)
    with zipfile.ZipFile(tmp_path / "images" / "many.zip", "w") as archive:
        for number in range(60):
            archive.writestr(f"{number}.png", picture)
    (tmp_path / "images" / "a.png").write_bytes(picture)
    for words, used, lost in (
        (["cluster", "text", "-k", 2], 2, 2000),
        (["cluster", "foreign", "-k", 2], 2, 2000),
        (["rotate", "images"], 1, 60),
        (["rotate", "table"], 1, 30),
    ):
        told = json.loads(here(*words, "--dry-run", "--json").stdout)
        assert (told["samples"], told["skipped"]) == (used + lost, lost), words
    done = here("rotate", "images", "--out", "out", "--workers", 1)
    assert (done.returncode, "60 of 61 samples are unusable" in done.stderr) == (3, True)
    line = json.loads((tmp_path / "out" / "_skipped.jsonl").read_text())
    assert (line["key"], line["samples"]) == ("many.zip", 60)
