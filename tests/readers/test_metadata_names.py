"""Which file a line of metadata names: compared with pandas and the names that the file system has."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
import unicodedata
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runs import Command

from pseudolabel import Rotate, UserError, run
from pseudolabel import rows as stream_rows
from pseudolabel.engine.parts import finish, plan_parts
from pseudolabel.engine.stream import dry_run
from pseudolabel.tasks.cluster import Cluster

SMALL = Rotate(size=16)
WRITERS = {
    "csv": lambda table, path: table.to_csv(path, index=False),
    "jsonl": lambda table, path: table.to_json(path, orient="records", lines=True, force_ascii=False),
    "parquet": lambda table, path: table.to_parquet(path, index=False),
}
READERS = {
    "csv": pd.read_csv,
    "jsonl": lambda path: pd.read_json(path, lines=True),
    "parquet": pd.read_parquet,
}


def pictures(folder: Path, *names: str) -> Path:
    rng = np.random.default_rng(len(names))
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(os.fspath(folder / name), rng.integers(0, 255, (20, 24, 3), np.uint8))
    return folder


def metadata(folder: Path, kind: str, *names: str) -> Path:
    """Write a metadata file in which the value of a line is its name."""
    path = folder / f"metadata.{kind}"
    WRITERS[kind](pd.DataFrame({"file_name": names, "who": [f"of {name}" for name in names]}), path)
    return path


def named(path: Path) -> tuple[dict[str, str], list[str]]:
    """Return file -> value by the rule of the docs, and the names that no file has."""
    found, lost = {}, []
    there = {str(file.relative_to(path.parent)) for file in path.parent.rglob("*") if file.is_file()}
    for line in READERS[path.suffix[1:]](path).itertuples():
        name = line.file_name if line.file_name in there else line.file_name.replace("\\", "/")
        if name in there:
            found[name] = line.who
        else:
            lost.append(name)
    return found, lost


def kept(source: Path | str) -> dict[str, str]:
    """Return the values that are not null, by key."""
    return {row["key"]: row["who"] for row in stream_rows(SMALL, source, keep="who") if row["who"] is not None}


# --- "\" -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
def test_a_backslash_is_part_of_a_name_if_a_file_has_it(tmp_path: Path, kind: str) -> None:
    folder = pictures(tmp_path / "in", "a/b.png", "a\\b.png", "c/d.png", "e\\f.png", "g/h.png", "top.png")
    path = metadata(folder, kind, "a\\b.png", "c\\d.png", ".\\g\\h.png", "./e\\f.png", "top.png")
    expected = named(path)[0] | {"g/h.png": "of .\\g\\h.png", "e\\f.png": "of ./e\\f.png"}
    assert len(expected) == 5
    assert "a/b.png" not in expected
    assert kept(folder) == expected
    assert kept(shutil.make_archive(str(tmp_path / "packed"), "tar", folder)) == expected
    metadata(folder, kind, "a\\b.png", "a/b.png", "c\\d.png", "c/d.png")  # only the last two are one file
    with pytest.raises(UserError, match=r"two lines give different values for c/d\.png"):
        kept(folder)
    plan_parts(SMALL, pictures(folder, "c\\d.png"), out=tmp_path / "parts", keep="who", workers=1)
    run(SMALL, folder, out=tmp_path / "parts", keep="who", workers=1, part="1/1")  # from the saved plan
    finish(tmp_path / "parts")
    rows = pq.read_table(tmp_path / "parts" / "data", columns=["key", "who"]).to_pylist()
    assert {(row["key"], row["who"]) for row in rows if row["who"]} == set(named(path)[0].items())


# --- lines of no file ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", WRITERS)
def test_lines_that_name_no_file_are_counted(tmp_path: Path, kind: str) -> None:
    """A folder too many, another case, another form of Unicode; the name of a file that another task would read."""
    composed, taken = unicodedata.normalize("NFC", "Grüße.png"), unicodedata.normalize("NFD", "Grüße.png")
    inner = pictures(tmp_path / "in" / "img", "00.png", "01.png", composed, "C#/100%.png", "deep/0.png")
    (inner / "note.txt").write_text("a note")
    cases = {
        ("img/00.png", "img/01.png"): "2 of 2 lines",
        ("00.PNG", "01.png", taken): "2 of 3 lines",
        ("00.png", "C#/100%.png", "deep/0.png", "deep\\0.png", "note.txt"): "",
        ("gone\\0.png", "00.png", "C%23/100%25.png"): "2 of 3 lines",
    }
    for names, counts in cases.items():
        path = metadata(inner, kind, *dict.fromkeys(names))
        if "deep\\0.png" in names:  # twice the same file, so the same value
            WRITERS[kind](READERS[kind](path).assign(who="same"), path)
        lost = named(path)[1]
        told = dry_run(SMALL, [tmp_path / "in"], keep="who")["warnings"]
        assert len(told) == bool(lost)
        assert bool(lost) == bool(counts)
        for warning in told:
            assert f"{len(lost)} of {len(names)} lines" == counts
            assert warning.startswith(
                f"img/metadata.{kind}: {counts} name no file of the source ({lost[0]}); a file_name"
            )


def test_a_run_its_parts_and_its_resumption_say_what_is_null(tmp_path: Path, here: Command) -> None:
    pictures(tmp_path / "one", *(f"{i:02}.png" for i in range(3)))
    pictures(tmp_path / "two" / "sub", "0.png")
    metadata(tmp_path / "one", "csv", *(f"one/{i:02}.png" for i in range(3)))
    metadata(tmp_path / "two", "jsonl", "sub/0.png", "1.png")
    words = ["rotate", "one", "--size", 16, "--keep", "who,folder", "--workers", 1]
    warning, null = "one/00.png", "the source has no value of `who` for any row"
    done = here(*words, "--out", "a")
    assert done.stderr.count(f"({warning})") == done.stderr.count(null) == 1
    assert "`folder`" in done.stderr, "null at the top of the source"
    here("plan", *words, "--out", "b")
    here(*words, "--out", "b", "--part", "1/1")
    here("finish", "b")
    shutil.copytree(tmp_path / "a", tmp_path / "c")
    for name in ("_SUCCESS", "data/train-00000.parquet"):
        (tmp_path / "c" / name).unlink()
    here(*words, "--out", "c", "--workers", 2)
    remarks = [json.loads((tmp_path / out / "_manifest.json").read_text())["remarks"] for out in "abc"]
    assert remarks[0] == remarks[1] == remarks[2]
    assert [warning in one or null in one or "`folder`" in one for one in remarks[0]] == [True] * 3
    assert warning in (tmp_path / "a" / "README.md").read_text()
    done = here("rotate", "one", "two", *words[2:], "--out", "both")
    assert null not in done.stderr
    assert "one/metadata.csv: 3 of 3 lines" in done.stderr
    assert "two/metadata.jsonl: 1 of 2 lines name no file of the source (1.png)" in done.stderr


# --- what metadata is counted as -------------------------------------------------------------------------------------


def test_metadata_is_ignored_only_if_it_is_not_used(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "in", "0.png", "1.png", "2.png")
    for kind in WRITERS:
        path = metadata(folder, kind, "0.png")
        assert dry_run(SMALL, [folder], keep="who")["ignored_suffixes"] == {}
        assert dry_run(SMALL, [folder])["ignored_suffixes"] == {path.suffix: 1}
        assert Cluster().resolve([folder]).modality == "images"
        path.unlink()
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        for name in ("0.png", "0.cls", "0.json", "0.xyz"):
            data = b"{}" if name == "0.json" else (folder / "0.png").read_bytes() if name == "0.png" else b"7"
            about = tarfile.TarInfo(name)
            about.size = len(data)
            tar.addfile(about, BytesIO(data))
    assert dry_run(SMALL, [tmp_path / "shard.tar"], keep="cls")["ignored_suffixes"] == {".xyz": 1}
    assert dry_run(SMALL, [tmp_path / "shard.tar"])["ignored"] == 3
    (tmp_path / "texts").mkdir()
    assert Cluster().resolve([metadata(tmp_path / "texts", "csv", "a").parent]).modality == "text", "nothing else"


def test_a_table_of_media_without_paths(tmp_path: Path) -> None:
    """As pyarrow infers it: `path` has the type null."""
    folder = pictures(tmp_path / "in", "0.png", "1.png")
    media = [{"bytes": (folder / f"{i}.png").read_bytes(), "path": None} for i in range(2)]
    table = pa.table({"image": media, "who": ["a", "b"]})
    assert str(table.schema.field("image").type) == "struct<bytes: binary, path: null>"
    pq.write_table(table, tmp_path / "x.parquet")
    rows = list(stream_rows(SMALL, tmp_path / "x.parquet", keep="who"))
    assert {(row["key"], row["who"]) for row in rows} == {("0", "a"), ("1", "b")}
    typed = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(pa.table({"image": pa.array(media, typed), "who": ["a", "b"]}), tmp_path / "typed.parquet")
    assert list(stream_rows(SMALL, tmp_path / "typed.parquet", keep="who")) == rows
    pq.write_table(pa.table({"image": media, "who": [None, None], "age": [1, None]}), tmp_path / "in" / "none.parquet")
    metadata(folder, "csv", "0.png", "1.png")
    rows = list(stream_rows(SMALL, folder, keep="who,age"))
    assert {(row["key"], row["who"], row["age"]) for row in rows} == {
        *(("none.parquet/0", None, 1), ("none.parquet/1", None, None)),
        *((f"{i}.png", f"of {i}.png", None) for i in range(2)),
    }
    said = run(SMALL, folder / "none.parquet", out=tmp_path / "none", keep="who,age", workers=1)
    remarks = json.loads((tmp_path / "none" / "_manifest.json").read_text())["remarks"]
    assert (said.used, remarks) == (2, ["warning: the source has no value of `who` for any row"])
    pq.write_table(pa.table({"image": ["0.png"], "who": ["a"]}), tmp_path / "y.parquet")
    with pytest.raises(UserError, match=r"has a column 'who'; \S+y\.parquet is not read: no media column"):
        list(stream_rows(SMALL, tmp_path / "y.parquet", keep="who"))
