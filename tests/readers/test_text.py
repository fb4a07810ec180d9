"""Text: whatever the ranges, chunks and formats, the same documents, and every one accounted for."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from documents import ALL, WHITE, found, read, texts

from pseudolabel.contracts import Extent, Sample, Split, UserError, splits
from pseudolabel.readers.text import boundaries, streams
from pseudolabel.readers.text.blocks import MAX_DOCUMENT_BYTES, Block, decode_block, pack
from pseudolabel.readers.text.reader import DocumentUnit, TextOptions, TextReader

DATA = Path(__file__).parents[3] / "shared" / "data" / "text"
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the shared data is not here")


def plainly(text: str, document: str) -> list[str]:
    """The documents of a text, the slow and simple way, by Python's own lines."""
    if document == "file":
        return [text.strip(WHITE)] if text.strip(WHITE) else []
    held: list[str] = []
    documents: list[str] = []
    for line in [*io.StringIO(text, newline=""), ""]:
        if line.strip(WHITE):
            held.append(line)
        if held and (document == "line" or not line.strip(WHITE)):
            documents.append("".join(held).strip(WHITE))
            held = []
    return documents


def scribble(seed: int, wide: int = 0) -> bytes:
    rng = np.random.default_rng(seed)
    parts = ["a", "bc", "é", "漢", "\n", "\n\n", "\r\n", "\r\n\r\n", " ", " \n", "\t", "\n   \n", "\v", "\u00a0"]
    parts += ["\r", "\r\r", "\r \n", "\u2029", "\u2028", "\x85"]
    parts += [" " * wide, "\n" + " " * wide, "\r" + " " * wide, "\r\n" * wide, "wide" * wide] if wide else []
    return ("\ufeff" * int(rng.integers(2)) + "".join(rng.choice(parts, int(rng.integers(40))))).encode()


# --- plain text -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("document", ["paragraph", "line", "file"])
def test_any_ranges_give_the_documents_of_the_whole(tmp_path: Path, document: str) -> None:
    path = tmp_path / "a.txt"
    for seed in range(25):
        raw = scribble(seed)
        path.write_bytes(raw)
        expected = plainly(raw.decode("utf-8-sig"), document)
        for span in (1, 2, 5, 1000):
            items = read(path, span, document=document)
            assert texts(items) == expected, (seed, span)
            assert all(raw[position:].startswith(text.encode()) for position, text in items)


@pytest.mark.parametrize("document", ["paragraph", "line"])
def test_wide_gaps_at_the_cuts_are_looked_through(tmp_path: Path, document: str) -> None:
    path = tmp_path / "a.txt"
    for seed in range(10):
        raw = scribble(seed, 9000)
        path.write_bytes(raw)
        for span in (1777, 9001):
            assert texts(read(path, span, document=document)) == plainly(raw.decode("utf-8-sig"), document), (
                seed,
                span,
            )


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_end_with_lf_cr_lf_or_cr_and_with_nothing_else(tmp_path: Path, end: str) -> None:
    lines = ["one", "two\u2029two\u2028two\x85two\ftwo", "", "three"]
    (tmp_path / "a.txt").write_text(end.join(lines), newline="")
    assert texts(read(tmp_path / "a.txt", document="line")) == ["one", lines[1], "three"]
    assert texts(read(tmp_path / "a.txt")) == [f"one{end}{lines[1]}", "three"]
    (tmp_path / "a.jsonl").write_text(
        end.join(json.dumps({"text": one}, ensure_ascii=False) for one in lines), newline=""
    )
    assert texts(read(tmp_path / "a.jsonl", 7)) == ["one", lines[1], "three"]
    (tmp_path / "a.csv").write_text(f"text{end}one{end}{lines[1]}{end}three", newline="")
    assert texts(read(tmp_path / "a.csv")) == ["one", lines[1], "three"]


def runs(raw: bytes, size: int, line_ends: int, longest: int) -> list[tuple[int, int, bytes]]:
    chunks = (raw[i : i + size] for i in range(0, len(raw), size))
    out = []
    for run in boundaries.cut_documents(chunks, boundaries.BoundaryScanner(0, line_ends, longest), sys.maxsize):
        assert isinstance(run, boundaries.RawDocuments)
        out += list(zip(run.positions.tolist(), run.starts.tolist(), run.texts(), strict=True))
    return out


@pytest.mark.parametrize("line_ends", [0, 1, 2])
def test_any_chunks_give_the_same_documents_and_the_same_pieces_of_long_ones(line_ends: int) -> None:
    for seed in range(50):
        raw = scribble(seed)
        whole = runs(raw, 1, line_ends, 8)
        assert all(len(text) <= 8 and text.strip() == text != b"" for _, _, text in whole)
        assert b"".join(b"".join(text for _, _, text in whole).split()) == b"".join(raw.split())
        assert all(raw[start:].startswith(text) and text.decode() for _, start, text in whole)
        for size in (2, 3, 8):
            assert runs(raw, size, line_ends, 8) == whole, (seed, size)


def test_pieces_cut_between_characters_are_set_apart_in_their_block() -> None:
    for run in boundaries.cut_documents([b"x" * 20 + b" y\n\n"], boundaries.BoundaryScanner(0, 2, 8), sys.maxsize):
        assert isinstance(run, boundaries.RawDocuments)
        for block in decode_block(run, "utf-8"):
            assert isinstance(block, Block)
            assert block.texts() == [b"x" * 8, b"x" * 8, b"xxxx y"]
            assert block.positions.tolist() == [0, 0, 0]
            assert block.data[block.ends[:-1]].tobytes().isspace()


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "shift_jis", "euc-jp", "big5", "latin-1"])
def test_long_texts_without_white_space_are_cut_between_characters(encoding: str) -> None:
    raw = b"".join(chr(code).encode(encoding, "ignore").strip() for code in range(0x20, 0x9FFF, 5))
    raw *= 9000 // len(raw) + 1
    for longest in (9, 64, 1001):
        edges = boundaries.BoundaryScanner(0, 2, longest, encoding)
        chunks = (raw[i : i + 300] for i in range(0, len(raw), 300))
        pieces = [piece for run in boundaries.cut_documents(chunks, edges, sys.maxsize) for piece in run.texts()]  # type: ignore[union-attr]
        assert "".join(piece.decode(encoding) for piece in pieces) == raw.decode(encoding)
        assert longest - 4 < min(map(len, pieces[:-1])) <= max(map(len, pieces)) <= longest


def test_a_range_within_a_long_line_reads_its_own_bytes_only(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20))
    middle = Extent("a.txt#1048576-2097152", str(path), 1 << 20, 2 << 20, 1 << 20)
    before = bytes_read()
    assert not found(TextReader(TextOptions()).read([middle], ALL))
    assert bytes_read() - before < 1.6 * (1 << 20)


def bytes_read() -> int:
    """By this process so far."""
    return int(Path("/proc/self/io").read_text().split()[1])


def test_white_space_longer_than_a_document_may_be_parts_documents(tmp_path: Path) -> None:
    raw = b"a\n" + b" " * (MAX_DOCUMENT_BYTES + 5) + b"b\nc"
    (tmp_path / "a.txt").write_bytes(raw)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(raw, 1))
    for path in (tmp_path / "a.txt", tmp_path / "b.txt.gz"):
        assert read(path) == [(0, "a"), (MAX_DOCUMENT_BYTES + 7, "b\nc")]


def test_a_block_of_a_range_has_its_key_and_further_blocks_their_own(tmp_path: Path) -> None:
    raw = b"".join(b"%07d\n\n" % i for i in range(400_000))
    (tmp_path / "a.txt").write_bytes(raw)
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(raw, 1))
    reader = TextReader(TextOptions())
    extents = list(reader.scan("a.txt", str(tmp_path / "a.txt"), len(raw)))
    assert [sample.key for sample in reader.read(extents, ALL)] == [extent.key for extent in extents]
    stream = list(reader.read(reader.scan("b.txt.gz", str(tmp_path / "b.txt.gz"), 9), ALL))
    assert stream[0].key == "b.txt.gz"
    assert len({sample.key for sample in stream}) == len(stream) > 2
    assert all(isinstance(sample, Sample) and len(sample.payload.data) < 1.3 * (1 << 20) for sample in stream)


def test_a_line_of_200_megabytes_passes_in_pieces_and_little_memory(tmp_path: Path) -> None:
    with (tmp_path / "a.txt").open("wb") as file:
        for _ in range(200):
            file.write(b"lorem ipsum " * (1_000_000 // 12))
    code = """
import re, sys
from pseudolabel.contracts import Split
from pseudolabel.readers.text.reader import TextOptions, TextReader
reader, path = TextReader(TextOptions()), sys.argv[1]
counts = [(s.count, s.facts["cut"] if s.facts else 0, len(s.payload.data))
          for s in reader.read(reader.scan("a", path, 199_999_200), Split("all", 0, 1))]
print(*map(sum, zip(*counts)), int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10)
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "a.txt"], capture_output=True, text=True, check=True)
    documents, cut, size, megabytes = map(int, done.stdout.split())
    assert documents == cut + 1 == 12
    assert size == 200 * 12 * (1_000_000 // 12) - documents  # a blank is lost at each cut, and one at the end
    assert megabytes < 220


# --- encodings --------------------------------------------------------------------------------------------------------


def test_what_is_not_utf8_is_skipped_alone_with_the_byte_and_the_hint(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("eins\n\nzwölf\n\ndrei".encode() + "\n\nfünf".encode("latin-1") + b"\n\nsechs\n\nz\0ro\n\nend")
    items = read(path)
    assert texts(items)[:3] == ["eins", "zwölf", "drei"]
    assert items[3] == (20, "!byte 21 (0xfc) is not utf-8; convert the file, or give another --encoding")
    assert items[4] == (26, "sechs")
    assert items[5][1].startswith("!NUL at byte 34")
    assert items[6][1] == "end"
    assert texts(read(path, encoding="latin-1"))[3] == "fünf"


def test_a_file_that_ends_within_a_character_is_told_from_another_encoding(tmp_path: Path) -> None:
    """Only at its very end: a character that is cut before white space is of another encoding."""
    end, hint = (
        "the file ends within a character; get the whole file, or give another --encoding",
        "convert the file, or give another --encoding",
    )
    head = "eins\n\nzwei\n\n"
    for encoding, character in (
        ("utf-8", "ü"),
        ("utf-8", "路"),
        ("utf-8", "👍"),
        ("gb18030", "👍"),
        ("shift_jis", "日"),
    ):
        whole = character.encode(encoding)
        for size in range(1, len(whole)):
            for before, after, said in (
                ("", b"", end),
                ("drei ", b"", end),
                ("drei", b"\n", hint),
                ("", b"\n\nvier", hint),
            ):
                raw = (head + before).encode(encoding) + whole[:size] + after
                for name, made in (("a.txt", raw), ("a.md.gz", gzip.compress(raw)), ("a.jsonl", raw)):
                    (tmp_path / name).write_bytes(made)
                options = {"encoding": encoding, "document": "line"}
                for name, span in (("a.txt", 1 << 20), ("a.txt", 5), ("a.md.gz", 1 << 20), ("a.jsonl", 7)):
                    skipped = [text for _, text in read(tmp_path / name, span, **options) if "JSON" not in text]
                    reasons = [text for text in skipped if text.startswith("!")]
                    with pytest.raises(UnicodeDecodeError):
                        raw.decode(encoding)
                    assert len(reasons) == 1
                    assert reasons[0].endswith(said), (encoding, size, before, after, name)
    (tmp_path / "a.txt").write_bytes("eins\n\nübrig".encode("latin-1"))
    assert hint in texts(read(tmp_path / "a.txt"))[-1]
    for cut in (1, 2, 3):  # of a pair of surrogates
        (tmp_path / "a.txt").write_bytes("eins\n\n👍".encode("utf-16")[:-cut])
        assert texts(read(tmp_path / "a.txt", encoding="utf-16")) == ["eins", f"!{end}"]


@needs_data
@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("French_Francais-Latin1", "latin-1"),
        ("Polish-Latin2", "iso8859-2"),
        ("Russian_Russky-Cyrillic", "iso8859-5"),
        ("Japanese_Nihongo-EUC", "euc-jp"),
        ("Japanese_Nihongo-SJIS", "shift_jis"),
        ("Chinese_Mandarin-GB2312", "gb18030"),
    ],
)
@pytest.mark.parametrize("document", ["paragraph", "line"])
def test_legacy_encodings_are_read_by_ranges(name: str, encoding: str, document: str) -> None:
    raw = (DATA / "udhr" / name).read_bytes()
    assert texts(read(DATA / "udhr" / name, 700, encoding=encoding, document=document)) == plainly(
        raw.decode(encoding), document
    )
    assert all(text.startswith("!") for text in texts(read(DATA / "udhr" / name)) if not text.isascii())


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "utf-7", "iso2022-jp", "hz", "cp037"])
def test_encodings_that_cannot_be_cut_are_read_as_a_stream(tmp_path: Path, encoding: str) -> None:
    text = "one\r\nline\r\n\r\ntwo, three\n\nfour\n\n" * 9
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    assert len(list(TextReader(TextOptions(encoding=encoding)).scan("a", str(path), 1 << 30))) == 1
    assert texts(read(path, 10, encoding=encoding)) == plainly(text, "paragraph")
    assert not streams.cuts_at_white(encoding)


def test_utf16_is_named_in_the_hint_once_per_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(("word " * 99).encode("utf-16"))
    for document in ("line", "paragraph", "file"):
        items = read(path, 100, document=document)
        assert items == [(0, "!the byte order mark says utf-16; give --encoding utf-16")]


def test_a_stream_that_does_not_decode_is_lost_from_there_on(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("one\n\ntwo".encode("utf-16") + b"\0")
    assert read(path, encoding="utf-16") == [
        (0, "one"),
        (5, "!the file ends within a character; get the whole file, or give another --encoding"),
    ]
    path.write_bytes("one\n\ntwo".encode("utf-16") + b"\0\xdc\0\0")
    assert read(path, encoding="utf-16") == [
        (0, "!not utf-16 from byte 18 on; convert the file, or give another --encoding")
    ]


# --- jsonl, csv, tsv, parquet -----------------------------------------------------------------------------------------

TEXTS = ["plain", "  kept\n\nin one  ", "漢字 é", 'quo"ted, "twice"', "tab\tand\r\nline", None, "", " \n ", "last"]
KEPT = [text.strip(WHITE) for text in TEXTS if text and text.strip(WHITE)]


def write_jsonl(path: Path, column: str = "text") -> None:
    path.write_text(
        "\n \n".join(json.dumps({"id": i, column: t}, ensure_ascii=i % 2 == 0) for i, t in enumerate(TEXTS))
    )


def write_csv(path: Path, column: str = "text") -> None:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file, delimiter="\t" if path.suffix == ".tsv" else ",")
        rows.writerows([["id", column], *([i, text] for i, text in enumerate(TEXTS))])


def write_parquet(path: Path, column: str = "text") -> None:
    pq.write_table(pa.table({"n": [{"u": 1}] * len(TEXTS), column: TEXTS}), path, row_group_size=2)


FORMATS: dict[str, Callable[..., None]] = {
    "a.jsonl": write_jsonl,
    "a.ndjson": write_jsonl,
    "a.csv": write_csv,
    "a.tsv": write_csv,
    "a.parquet": write_parquet,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".xz", ".bz2"])
def test_every_format_gives_the_texts_of_its_column(tmp_path: Path, name: str, packed: str) -> None:
    path = tmp_path / name
    FORMATS[name](path)
    if packed:
        path = compressed(path, packed)
    if name != "a.parquet" or not packed:
        assert path.name.endswith(tuple(TextReader.suffixes))
        for span in (1, 40, 1000):
            items = read(path, span)
            assert texts(items) == KEPT
            assert sum(text.startswith("?no text") for _, text in items) == sum(
                not (text or "").strip() for text in TEXTS
            )
        assert texts(read(path, 40, document="file")) == KEPT


def compressed(path: Path, suffix: str) -> Path:
    """The file in two gzip members, zstd frames or streams of xz or bzip2."""
    raw = path.read_bytes()
    packs: dict[str, Callable[[bytes], bytes]] = {
        ".gz": gzip.compress,
        ".zst": lambda data: pa.Codec("zstd").compress(data, asbytes=True),
        ".xz": lambda data: lzma.compress(data, preset=0),
        ".bz2": bz2.compress,
    }
    pack = packs[suffix]
    packed = path.with_name(path.name + suffix)
    packed.write_bytes(pack(raw[: len(raw) // 2]) + pack(raw[len(raw) // 2 :]))
    return packed


@pytest.mark.parametrize("name", FORMATS)
def test_a_file_without_the_column_is_skipped_and_says_what_it_has(tmp_path: Path, name: str) -> None:
    """Each of its rows counts."""
    path = tmp_path / name
    FORMATS[name](path, "body")
    items = read(path, 10)
    assert items[0][0] == 0
    reader = TextReader(TextOptions())
    lost = reader.read(reader.scan(name, str(path), path.stat().st_size), ALL)
    assert sum(item.count for item in lost) == len(TEXTS)
    for reason in texts(items):
        assert reason.startswith("!no column 'text'; choose with --column among: ")
        assert reason.endswith(", body")
    assert texts(read(path, 10, column="body")) == KEPT


def test_what_is_no_text_under_a_name_of_text_is_skipped_by_that_reason(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("The boats came up.\n\nAnd went.")
    packed = {suffix: compressed(tmp_path / "a.txt", suffix).read_bytes() for suffix in (".gz", ".zst", ".xz", ".bz2")}
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(tmp_path / "a.txt")
    cases = {
        **{suffix: (data, f"!not text but compressed; give it the suffix {suffix}") for suffix, data in packed.items()},
        "zip": ((tmp_path / "a.zip").read_bytes(), "!not text but a zip archive"),
        "pdf": (b"%PDF-1.7\n1 0 obj", "!not text but a PDF"),
    }
    for data, reason in cases.values():
        for name in ("b.txt", "b.jsonl", "b.csv", "b.tsv"):
            (tmp_path / name).write_bytes(data)
            ((_, told),) = read(tmp_path / name)
            assert told.startswith(reason), (name, reason)
    for suffix in packed:
        for data in ((tmp_path / "a.txt").read_bytes(), *(packed[other] for other in packed if other != suffix)):
            (tmp_path / f"c.txt{suffix}").write_bytes(data)
            assert texts(read(tmp_path / f"c.txt{suffix}")) == [
                f"!not compressed as its suffix {suffix} says; give it the suffix of its content"
            ]
        (tmp_path / f"d.txt{suffix}").write_bytes(packed[suffix])
        assert texts(read(tmp_path / f"d.txt{suffix}")) == ["The boats came up.", "And went."]


def test_bad_lines_of_jsonl_are_skipped_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "good"}\n{"text": 3}\n["text"]\n{"text": "cut\n{"text": "\\ud800"}\n{"body": "b"}\n'
        b'{"text": "a"} {"text": "b"}\n{"text": "f\xfcnf"}\n' + b"[" * 100_000 + b'\n{"text": "end"}'
    )
    items = read(path, 300)
    assert texts(items)[0] == "good"
    assert texts(items)[-1] == "end"
    reasons = ["a string, found int", "not a JSON object: list", "Unterminated", "lone surrogate", "among: body"]
    reasons += ["more than one value", "not utf-8; convert the file, or give another --encoding", "recursion"]
    for reason, (_, text) in zip(reasons, items[1:-1], strict=True):
        assert reason in text


def test_a_long_text_in_a_table_is_cut_and_too_long_a_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    long = "word " * (MAX_DOCUMENT_BYTES // 4)
    path.write_text("\n".join(json.dumps({"text": text}) for text in (long, "b", long * 2, "c")))
    reader = TextReader(TextOptions())
    samples = list(reader.read(reader.scan("a", str(path), path.stat().st_size), ALL))
    assert sum(sample.facts.get("cut", 0) for sample in samples if isinstance(sample, Sample)) == 1
    items = found(samples)
    assert [len(text) for text in texts(items)[:2]] == [MAX_DOCUMENT_BYTES - 2, len(long) - MAX_DOCUMENT_BYTES]
    assert texts(items)[2:] == ["b", "!a line of more than 32 MB", "c"]


def test_broken_quoting_is_told_and_does_not_swallow_the_rest_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(b'id,text\n1,"fine"\n2,"un"quoted"\n3,too,many\n4\n\n5,f\xfcnf\n6,six\n7,"open\n8,eight\n')
    items = read(path)
    assert items[0] == (0, "fine")
    assert items[1][1].startswith("!invalid quoting in lines 3 to 3")
    assert items[2][1].startswith("!a row of 3 fields, but the header has 2")
    assert items[3][1].startswith("!a row of 1 fields")
    assert items[4] == (
        4,
        "!byte 0xfc at character 1 of the text is not utf-8; convert the file, or give another --encoding",
    )
    assert items[5] == (5, "six")
    assert items[6] == (6, "!invalid quoting in lines 9 to 10: unexpected end of data")
    assert len(items) == 7


def test_parquet_is_read_by_row_groups_of_any_string_type(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    values = [f"text {i}" for i in range(10)]
    for kind in (pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.dictionary(pa.int32(), pa.string())):
        array = pa.array(values)
        array = array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)
        pq.write_table(pa.table({"text": array}), path, row_group_size=3)
        keys = [extent.key for extent in TextReader(TextOptions()).scan("a", str(path), 1, 1)]
        assert keys == ["a#0-3", "a#3-6", "a#6-9", "a#9-10"]
        assert read(path, 1) == read(path) == list(enumerate(values))
    pq.write_table(pa.table({"text": [1, 2]}), path)
    assert read(path) == [(0, "!column 'text' has type int64, not string; choose another with --column")]
    pq.write_table(pa.table({"text": pa.array([b"a", b"\xfc", b"b"])}), path)
    assert read(path) == [
        (0, "a"),
        (1, "!byte 0 of the text (0xfc) is not utf-8: text in Parquet must be utf-8"),
        (2, "b"),
    ]


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "suffix"),
    [*product(["a.txt", "a.jsonl", "a.csv"], [".gz", ".zst"]), ("a.txt", ".xz"), ("a.txt", ".bz2")],
)
def test_what_comes_before_a_damage_is_read_and_the_rest_skipped_once(tmp_path: Path, name: str, suffix: str) -> None:
    path = tmp_path / name
    lines = [os.urandom(30).hex() for _ in range(20_000)]
    head, form = {"a.txt": ("", "{}\n"), "a.jsonl": ("", '{{"text": "{}"}}\n'), "a.csv": ("text\n", "{}\n")}[name]
    path.write_text(head + "".join(form.format(line) for line in lines))
    packed = compressed(path, suffix)
    packed.write_bytes(packed.read_bytes()[: packed.stat().st_size * 3 // 4])
    items = read(packed, document="line")
    assert texts(items)[:-1] == lines[: len(items) - 1]
    assert len(items) > 9_000
    assert items[-1][1].startswith("!damaged from here on: ")


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", "a.txt.zst", "a.jsonl", "a.csv", "a.parquet"])
def test_files_that_are_empty_gone_or_no_such_thing(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"")
    extents = list(TextReader(TextOptions()).scan("a", str(path), 0))
    assert [(extent.key, extent.weight) for extent in extents] == [("a", 0)]
    empty = found(TextReader(TextOptions()).read(extents, ALL))
    assert (empty == []) == (name != "a.parquet")
    path.unlink()
    assert found(TextReader(TextOptions()).read([Extent("a#0", str(path), 0, None, 9)], ALL)) == [
        (0, "!gone since the scan")
    ]
    path.mkdir()  # any other error of the system stops the run
    with pytest.raises(IsADirectoryError):
        list(TextReader(TextOptions()).read(extents, ALL))
    path.rmdir()
    path.write_bytes(b"\xff\x00not so at all")
    (reason,) = texts(read(path))
    assert reason.startswith("!")


# --- splits and limits ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz", *FORMATS])
def test_splits_part_the_documents_and_a_limit_takes_the_first(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name in FORMATS:
        FORMATS[name](path)
    else:
        raw = b"one\n\ntwo\n\n\xff\n\nfour\n\nfive\n\nsix"
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
    everything = read(path)
    lows = {}
    for edge in (0.2, 0.4, 0.6, 0.8):
        lows[edge] = read(path, split=Split("train", 0.0, edge), split_by="document")
        assert sorted(lows[edge] + read(path, split=Split("validation", edge, 1.0), split_by="document")) == everything
    assert any(0 < len(low) < len(everything) for low in lows.values())
    reader = TextReader(TextOptions())
    for span in (1 << 20, 12):
        for extent in reader.scan(path.name, str(path), path.stat().st_size, span):
            inside = found(reader.read([extent], ALL))
            for count in range(len(inside) + 2):
                cut, held = reader.first(extent, count)
                assert held == min(count, len(inside))
                assert found(reader.read([cut], ALL)) == inside[:held]
                assert (cut == extent) == (count >= len(inside))
                assert (cut.start, cut.file) == (extent.start, extent.file)
                assert cut.weight <= extent.weight


@pytest.mark.parametrize("split_by", [None, "file", "document"])
def test_a_book_is_in_one_split_and_rows_of_a_table_are_in_both(tmp_path: Path, split_by: str | None) -> None:
    """Unless `--split-by` says else; every range of a file is in the same split."""
    for i in range(15):
        (tmp_path / f"{i}.txt").write_text("".join(f"paragraph {i} {j}\n\n" for j in range(24)))
        rows = "".join(f"row {i} {j}\n" for j in range(24))
        (tmp_path / f"{i}.csv.gz").write_bytes(gzip.compress(f"text\n{rows}".encode()))
        (tmp_path / f"{i}.jsonl").write_text("".join(f'{{"text": "{row}"}}\n' for row in rows.splitlines()))
    whole, shares = {".txt": split_by != "document", ".gz": split_by == "file", ".jsonl": split_by == "file"}, []
    for path in tmp_path.iterdir():
        train, validation = (texts(read(path, 200, split, split_by=split_by)) for split in splits(0.3))
        assert sorted(train + validation) == sorted(texts(read(path)))
        assert bool(train and validation) != whole[path.suffix]
        shares.append(len(validation) / 24)
    assert 0.15 < np.mean(shares) < 0.45


def test_pieces_of_a_document_stay_in_one_split_and_under_one_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"word " * (MAX_DOCUMENT_BYTES // 2) + b"\n\nend")
    assert [position for position, _ in read(path)] == [0, 0, 0, MAX_DOCUMENT_BYTES // 2 * len("word ") + 2]
    halves = [read(path, split=Split("", low, low + 0.5), split_by="document") for low in (0.0, 0.5)]
    assert {len([item for item in half if item[0] == 0]) for half in halves} == {0, 3}
    extent = next(TextReader(TextOptions()).scan("a", str(path), path.stat().st_size))
    for count, held in ((0, 0), (1, 3), (2, 3), (3, 3), (4, 3)):  # a document is never cut by a limit
        assert TextReader(TextOptions()).first(extent, count)[1] == held


# --- real files, options, the block -----------------------------------------------------------------------------------


@needs_data
@pytest.mark.parametrize("document", list(DocumentUnit))
def test_the_shared_texts_are_what_a_simple_split_finds(document: DocumentUnit) -> None:
    for folder in ("novels", "peps", "rust_rfcs"):
        for path in sorted((DATA / folder).iterdir()):
            raw = path.read_bytes()
            items = read(path, 50_000, document=document)
            assert texts(items) == plainly(raw.decode("utf-8-sig"), document), path
            assert all(raw[position:].startswith(text.encode()) for position, text in items)


@needs_data
def test_every_shared_file_is_read_and_accounted_for() -> None:
    counts = {}
    for path in (path for path in DATA.rglob("*") if path.is_file()):
        items = read(path, column={"gsm8k": "question", "humaneval": "prompt"}.get(path.parent.name, "text"))
        counts[path.name] = (len(items), sum(text.startswith("!byte ") for text in texts(items)))
        assert items
        assert counts[path.name][1] == 0 or path.parent.name == "udhr"
    assert counts["tldr.jsonl.gz"] == (38404, 0)
    assert counts["train.csv"] == (10003, 0)
    assert counts["test.csv"] == (3080, 0)
    assert counts["test.jsonl"] == (1319, 0)
    assert counts["HumanEval.jsonl.gz"] == (164, 0)
    assert counts["Hebrew_Ivrit-Hebrew"] == (39, 39)


@pytest.mark.parametrize("wrong", [{"encoding": "utf-9"}, {"encoding": "base64"}, {"document": "page"}])
def test_wrong_options_are_refused_with_a_remedy(wrong: dict[str, str]) -> None:
    with pytest.raises(UserError, match=r"try utf-8|choose among"):
        TextOptions(**wrong)


def test_a_block_gives_its_documents() -> None:
    block = pack([b"one", "zw\u00f6lf".encode(), b"three"], [0, 5, 9])
    assert [block.text(i) for i in range(3)] == ["one", "zwölf", "three"]
    kept = block.keep(np.array([True, False, True]))
    assert kept.texts() == [b"one", b"three"]
    assert kept.positions.tolist() == [0, 9]
    assert pack([], []).texts() == []


def test_columns_that_are_no_text_are_told_and_no_more_of_them_than_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,\xff\x8b," + b"x" * 1000 + b", y" * 1000 + b"\n1,2,3\n")
    reader = TextReader(TextOptions())
    (item,) = reader.read(reader.scan("a.csv", str(tmp_path / "a.csv"), 100), splits(0)[0])
    assert item.reason.encode()
    assert len(item.reason) < 300


@pytest.mark.parametrize("rows", [["x" * 262_144] * 4, ['"bad" quotes"'] * 40_000])
def test_a_limit_on_a_table_whose_last_block_is_empty(rows: list[str], tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("\n".join(["text", *rows, ""]))
    reader = TextReader(TextOptions())
    extent = Extent("a.csv", str(path), 0, None, path.stat().st_size)
    cut, held = reader.first(extent, 2)
    assert held == 2
    assert cut.stop is not None
