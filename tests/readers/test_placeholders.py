"""What lies in the place of a file is skipped by that reason, of whatever modality and in whatever container."""

from __future__ import annotations

import gzip
import tarfile
import zipfile
from pathlib import Path

import pytest
from documents import read, texts

from pseudolabel import TASKS
from pseudolabel.contracts import Skipped, splits
from pseudolabel.readers.sources import files

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"4d" * 32 + b"\nsize 12345\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>404</title></head>\n\n" + b"<p>Not found</p>\n\n" * 80_000
PLACEHOLDERS = {
    "a pointer of Git LFS": POINTER,
    "a pointer of git-annex": b"/annex/objects/SHA256E-s12345--4d7a2146.jpg\n",
    "an HTML page": PAGE,
    "an HTML page,": b'\xef\xbb\xbf\r\n<?xml version="1.0"?>\n<!-- a -->\n<HTML lang="en"><p>Moved</p>',
    "the error message of a store": b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>',
    "a pointer of Git LFS,": POINTER.replace(b"\n", b"\r\n"),
    "the error message of a download": b"404: Not Found",
    "the error message of a download,": b"Entry not found\n",
    "the error message of a download, ": b'{"message":"Not Found","documentation_url":"https://docs.github.com/rest"}',
}
NAMES = [
    *("a.txt", "b.jsonl", "c.csv", "d.tsv", "e.parquet", "f.txt.gz", "g.json.xz"),
    *("h.jpg", "i.png", "j.tif", "k.avif", "l.gif", "m.wav", "n.mp3", "o.m4a", "p.mp4", "q.mkv", "r.zip", "s.tar.gz"),
]


@pytest.mark.parametrize("task", ["mask-text", "jigsaw", "mask-audio", "shuffle-frames"])
def test_placeholders_are_the_reason(task: str, tmp_path: Path) -> None:
    for number, data in enumerate(PLACEHOLDERS.values()):
        for name in NAMES:
            (tmp_path / f"{number}{name}").write_bytes(data)
    with (
        zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as archive,
        tarfile.open(tmp_path / "in.tar", "w") as tar,
    ):
        for name in ("a.txt", "h.jpg", "m.wav", "p.mp4"):
            archive.write(tmp_path / f"2{name}", name)
            tar.add(tmp_path / f"0{name}", name)
    (tmp_path / "z.txt.gz").write_bytes(gzip.compress(PAGE))
    reader = TASKS[task]().reader()
    found = [file for file in files.find_files([tmp_path], reader.suffixes) if file.candidate]
    reasons: dict[str, list[str]] = {}
    for item in reader.read((e for file in found for e in reader.scan(*file[:3])), splits(0)[0]):
        assert isinstance(item, Skipped), item.key
        reasons.setdefault(item.key.partition("#")[0], []).append(item.reason)
    assert reasons.keys() == {file.key for file in found}
    for key, (reason,) in reasons.items():
        number = {"in.zip": 2, "in.tar": 0, "z.txt.gz": 2}.get(key.partition("/")[0])
        assert reason.startswith(list(PLACEHOLDERS)[int(key[0]) if number is None else number]), key


def test_text_that_speaks_of_placeholders_is_text(tmp_path: Path) -> None:
    for text in (
        "<h1 align='center'>A title</h1>",
        "version https://git-lfs.github.com/spec/v1",
        "<doc>html</doc>",
        "/a",
        "404: Not Found is what the server says",
        '{"message": "not found", "lines": [{}]}',
    ):
        (tmp_path / "a.md").write_text(text)
        assert texts(read(tmp_path / "a.md")) == [text]
