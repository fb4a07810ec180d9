"""Text under names that corpora have: their own tools pack them, DuckDB and Python read them for comparison."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest
from documents import ALL, found, texts

from pseudolabel.engine.scan import resolve_sources
from pseudolabel.readers.sources import files
from pseudolabel.readers.text.reader import TextOptions, TextReader
from pseudolabel.tasks.base.modalities import find_modality
from pseudolabel.tasks.cluster import Cluster

LINES = "".join(
    json.dumps({"text": f"document {i} {'of many words ' * 9}", "url": f"http://{i}"}) + "\n" for i in range(60)
)
LONG = json.dumps({"text": "long " * 2000}) + "\n" + LINES
ARTICLES = "".join(f'<doc id="{i}" title="A">\nA\n\nThe boats came up, {i}.\n</doc>\n\n' for i in range(60))


def zstd(data: bytes, *options: str) -> bytes:
    return subprocess.run(["zstd", "-qc", *options], input=data, capture_output=True, check=True).stdout


def xz(data: bytes, *options: str) -> bytes:
    return subprocess.run(["xz", "-c", *options], input=data, capture_output=True, check=True).stdout


def gz(data: bytes) -> bytes:
    return gzip.compress(data)


READ: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "c4-train.00000-of-01024.json.gz": (LINES, gz),
    "dolma-v1_7.json.gz": (LONG, gz),
    "redpajama.json.zst": (LINES, zstd),
    "lines.json": (LINES, bytes),
    "long-lines.json": (LONG, bytes),
    "notes.txt.xz": (ARTICLES, xz),
    "notes.txt.bz2": (ARTICLES, bz2.compress),
    "AA/wiki_00": (ARTICLES, bytes),
    "AA/wiki_01": (LINES, bytes),
    "AA/wiki_02.bz2": (ARTICLES, bz2.compress),
    "AA/wiki_03.bz2": (LINES, bz2.compress),
    "part-00000.gz": (LONG, gz),
    "corpus.en": (ARTICLES, bytes),
    "wiki.train.raw.xz": (ARTICLES, lzma.compress),
    "window.jsonl.zst": (LINES, lambda data: zstd(data, "--long=27")),
}
NOT_READ = {
    "config.json": b'{"a": 1}\n',
    "pretty.json": b'{\n "text": "a"\n}\n',
    "array.json": b'[{"text": "a"}]',
    "LICENSE": b"Permission is granted",
    "LICENSE-MIT": b"Permission is granted",
    "load.py": b"x = 1\n",
    "page.html": b"<p>a page</p>",
    "page": b"<!DOCTYPE html>\n<p>a page</p>",
    "paper": b"%PDF-1.7\nso",
    "data.bin": bytes(range(256)) * 20,
    "data.bin.gz": gzip.compress(bytes(range(256)) * 20),
    "movie.txt.part": b"half of a text",
    "broken.gz": b"\x1f\x8b\x08 no gzip",
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for name, (text, pack) in READ.items():
        path = tmp_path / "corpus" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(pack(text.encode()))
    for name, data in NOT_READ.items():
        (tmp_path / "corpus" / name).write_bytes(data)
    return tmp_path / "corpus"


def packed(kind: str, corpus: Path) -> str:
    """The corpus as a list, or in an archive."""
    to = corpus.parent / f"f.{kind}"
    names = sorted(os.path.relpath(path, corpus) for path in corpus.rglob("*") if path.is_file())
    if kind == "list":
        to.write_text("".join(f"corpus/{name}\n" for name in names))
        return f"@{to}"
    if kind == "zip":
        with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in names:
                archive.write(corpus / name, name)
    else:
        with tarfile.open(to, "w:gz" if kind == "tar.gz" else "w") as tar:
            for name in names:
                tar.add(corpus / name, name)
    return str(to)


def documents(source: str) -> dict[str, list[str]]:
    """The documents of each candidate file of a source, by its name."""
    reader = TextReader(TextOptions())
    (place,) = resolve_sources(source)
    return {
        file.key.removeprefix("corpus/"): texts(found(reader.read(reader.scan(*file[:3]), ALL)))
        for file in files.find_files([place], reader.suffixes)
        if file.candidate
    }


@pytest.mark.parametrize("kind", ["folder", "list", "zip", "tar", "tar.gz"])
def test_text_is_read_under_the_names_that_corpora_have(kind: str, corpus: Path) -> None:
    expected = {}
    for name, (text, _) in READ.items():
        if text.startswith("{"):
            path = corpus.parent / "judge.jsonl"
            path.write_text(text)
            rows = duckdb.sql(f"SELECT text FROM read_json('{path}', format='newline_delimited')").fetchall()
            expected[name] = [row[0].strip() for row in rows]
        else:
            expected[name] = [part.strip() for part in text.split("\n\n") if part.strip()]
    assert documents(str(corpus) if kind == "folder" else packed(kind, corpus)) == expected


def test_windows_that_are_too_long_are_the_reason(tmp_path: Path) -> None:
    """Where the size is unknown, and larger than the window, as in a pipe."""
    (tmp_path / "a.txt.zst").write_bytes(zstd(ARTICLES.encode(), "--long=31"))
    (tmp_path / "b.txt.xz").write_bytes(xz(ARTICLES.encode(), "--lzma2=dict=512MiB"))
    (tmp_path / "c.txt.xz").write_bytes(xz(ARTICLES.encode(), "-9") + xz(ARTICLES.encode()))
    read = documents(str(tmp_path))
    for name in ("a.txt.zst", "b.txt.xz"):
        (reason,) = read[name]
        assert reason.startswith("!its window is longer than 128 MB; pack it again")
    assert len(read["c.txt.xz"]) == 240


def test_text_of_unknown_suffix_does_not_decide_the_modality(tmp_path: Path) -> None:
    (tmp_path / "checksums.dat").write_text("of no picture")
    assert find_modality(Cluster(), [tmp_path]) == "text"
    (tmp_path / "a.jpg").touch()
    assert find_modality(Cluster(), [tmp_path]) == "images"
