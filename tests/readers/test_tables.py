"""Tables as other tools read them: DuckDB, pandas and the csv module are the judges."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import duckdb
import pandas as pd
from documents import WHITE, read, texts

from pseudolabel import Cluster
from pseudolabel.writers.source_columns import plan_columns

PROSE = ["It was late.", "He said nothing", "the boats, the canoes", "und so weiter"]


def documents(column: pd.Series) -> list[str]:
    return [text.strip(WHITE) for text in column if isinstance(text, str) and text.strip(WHITE)]


# --- columns that come late ------------------------------------------------------------------------------------------


def test_a_column_that_comes_late_is_found_and_each_line_without_it_counts(tmp_path: Path) -> None:
    """After a line of metadata, after one that is longer than any head, after many, and in none of a range's lines."""
    lines = [{"text": f"document {i} {PROSE[i % 4]}", "id": i} for i in range(300)]
    heads: dict[str, list[dict[str, object]]] = {
        "line of metadata": [{"version": 1}],
        "long line": [{"licence": "x" * 400_000}],
        "many lines": [{"id": i, "note": "x" * 500} for i in range(600)],
        "none": [],
    }
    for name, head in heads.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("\n".join(map(json.dumps, [*head, *lines, *head[:5]])))
        judge = duckdb.sql(f"SELECT text FROM read_json('{path}', format='newline_delimited', sample_size=-1)").df()
        for span in (5_000, 1 << 20):
            items = read(path, span)
            assert [text for text in texts(items) if text[0] != "!"] == documents(judge["text"]), (name, span)
            assert len(items) == len(judge), (name, span)
            assert all("no column 'text'" in text for text in texts(items) if text[0] == "!")


def test_a_column_to_keep_that_comes_late_is_found(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines: list[dict[str, object]] = [{"text": f"{PROSE[i % 4]} {i} {'and on ' * 150}"} for i in range(300)]
    lines[-1]["licence"] = "MIT"
    path.write_text("\n".join(map(json.dumps, lines)))
    task = Cluster(modality="text").resolve([path])
    kept, reader = plan_columns(task, [path], "licence"), task.reader()
    (extent,) = reader.scan("a.jsonl", str(path), path.stat().st_size)
    values = [found["licence"] for _, found in kept.of(extent, reader) if isinstance(found, dict)]
    assert values == [None] * 299 + ["MIT"]


# --- tsv: whether quotes count ---------------------------------------------------------------------------------------

LETTERS = ['"Come up', 'he said "no"', 'the end"', '"all" of it', '""', "", '"one"" more', "plain", '"', '"a" "b"']
MARKED = ["one", 'a "word"', "tab\there", "line\nbreak", "two\n\nlines\there", '"', '""', "  apart  ", 'end"\n"begin']


def test_quotes_that_are_letters_in_tsv_stay_in_their_line(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    for columns in (2, 3):
        rows = [[text if j == 1 else f"{i}" for j in range(columns)] for i, text in enumerate(LETTERS * 3)]
        path.write_text("\n".join("\t".join(row) for row in [["id", "text", "more"][:columns], *rows]))
        judge = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, keep_default_na=False)
        items = dict(read(path))
        assert len(judge) == len(items) == len(rows)
        for row, text in enumerate(judge["text"]):  # what is valid both ways within its line is quoted
            (quoted,) = next(csv.reader([text], delimiter="\t")) if text and text != '"' else [text]
            balanced = text.startswith('"') and text.endswith('"') and text.count('"') % 2 == 0 and '" "' not in text
            assert items[row].replace("?no text: null, empty or white space", "") == (quoted if balanced else text)


def test_quotes_that_count_in_tsv_hold_tabs_and_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
        for head, row in ((["id", "text"], lambda i, t: [i, t]), (["text", "id", "x"], lambda i, t: [t, i, ""])):
            with path.open("w", newline="") as file:
                csv.writer(file, delimiter="\t", quoting=quoting).writerows(
                    [head, *(row(i, text) for i, text in enumerate([*MARKED, *MARKED]))]
                )
            judge = pd.read_csv(path, sep="\t", keep_default_na=False)
            assert texts(read(path)) == documents(judge["text"]) == [text.strip() for text in MARKED * 2]


def test_a_header_of_quoted_fields_makes_quotes_count(tmp_path: Path) -> None:
    """Also where each line of a text has as many fields as the header."""
    path = tmp_path / "a.tsv"
    written = [f"name\tage {i}\nAnn\t{i}" for i in range(20)]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter="\t", quoting=csv.QUOTE_ALL).writerows(
            [["id", "text", "lang"], *([i, text, "en"] for i, text in enumerate(written))]
        )
    assert texts(read(path)) == pd.read_csv(path, sep="\t")["text"].tolist() == written


def test_a_long_quoted_text_and_an_open_quote_without_end_in_tsv(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    book = "\n".join(f"line {i}" for i in range(5_000))
    rows = [f"{i}\tdocument {i}" for i in range(3_000)]
    path.write_text("\n".join(["id\ttext", f'0\t"{book}"', '1\t"open', *rows]))
    assert texts(read(path)) == [book, '"open', *(row.partition("\t")[2] for row in rows)]
    lines = ['"one', 'two"', '"three', "four", '"five" six', "and go"]
    path.write_text("\n".join(["text", *lines]))  # one column: each line has as many fields as the header
    assert texts(read(path)) == documents(pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE)["text"]) == lines
    path.write_text('text\n"one\n\ntwo\tthree"\nfour\n')
    assert texts(read(path)) == documents(pd.read_csv(path, sep="\t")["text"]) == ["one\n\ntwo\tthree", "four"]
    path.write_text('id\ttext\n1\ta\tb\n2\n3\t"c\n')
    assert texts(read(path)) == [
        "!a row of 3 fields, but the header has 2; check the quoting",
        "!a row of 1 fields, but the header has 2; check the quoting",
        '"c',
    ]


def test_the_last_suffix_tells_the_delimiter(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv.csv"
    path.write_text("id,text\n1,one\ttwo\n")
    assert texts(read(path)) == ["one\ttwo"]
