"""Damage, forgery and what no row can hold: each is said by `verify` in a line, by the name of what is wrong."""

from __future__ import annotations

import json
import shutil
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from forgery import named, shard, sign, write
from runs import Made, source

from pseudolabel import TASKS, Task
from pseudolabel.contracts import UserError
from pseudolabel.inspection.row_checks import invalid_values, values_equal
from pseudolabel.inspection.verify import verify
from pseudolabel.tasks.base.task import row_columns
from pseudolabel.transforms.image import codec


def test_no_column_takes_what_it_cannot_hold(task: Task, made: Made) -> None:
    file = pq.ParquetFile(shard(made[task.name]))
    for column in row_columns(task):
        row = next(file.iter_batches(1)).to_pylist()[0]
        inner, holder, place = row[column.name], row, column.name
        while isinstance(inner, list) and inner:
            inner, holder, place = inner[0], inner, 0
        if inner == []:  # of what was not done there is no value
            continue
        for wrong in unfit(column.type.replace("list<", "").rstrip(">") if "audio" not in column.type else "audio"):
            holder[place] = wrong
            rows = pa.RecordBatch.from_pylist([row], file.schema_arrow)
            assert f"`{column.name}`" in invalid_values(row_columns(task), 2, rows)[0], wrong


def unfit(kind: str) -> list[Any]:
    """What no column of that type can hold."""
    absurd = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" + bytes([0, 0, 78, 32] * 2) + b"\x08\x02\x00\x00\x00"
    absurd += zlib.crc32(absurd[12:]).to_bytes(4, "big")
    blobs = [{"bytes": data, "path": None} for data in (b"no media", b"", None, absurd)]
    others = {"class": [-1, 10**6], "float32": [float("nan"), float("inf")], "float64": [float("nan")]}
    return [None, *(blobs if kind in ("image", "audio") else others.get(kind, []))]


def test_rows_of_one_name_are_told_apart(made: Made, tmp_path: Path) -> None:
    whole = pq.read_table(shard(made["rotate"])).to_pylist()
    for number, (harm, false, words) in enumerate(
        [
            (lambda rows: rows.pop(1), 0, "lacks this row"),
            (lambda rows: rows.insert(1, rows[1]), 1, "gives no such row"),
            (lambda rows: rows.__setitem__(1, {**rows[1], "key": "other"}), 1, "`key` is 'other'"),
        ]
    ):
        out = Path(shutil.copytree(made["rotate"], tmp_path / str(number)))
        rows = [*whole]
        harm(rows)
        write(out, rows)
        sign(out)
        found = verify(out, source(TASKS["rotate"]()), workers=1)
        assert (found.false, len(found.faults)) == (false, 1), found.faults
        assert words in found.faults[0]["reason"]


def test_brighter_pictures_are_not_the_same(made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made["rotate"], tmp_path / "out"))
    rows = pq.read_table(shard(out)).to_pylist()
    image = codec.decode_stored(rows[0]["image"])
    rows[0]["image"] = codec.media(codec.encode_jpeg(np.clip(image * 1.04, 0, 255).astype(np.uint8)))
    write(out, rows)
    sign(out)
    found = verify(out, source(TASKS["rotate"]()), workers=1)
    assert found.faults == [{"where": rows[0]["key"], "reason": "`image` is not what its source gives"}]
    assert values_equal("image", *map(codec.media, map(codec.encode_png, (image[..., 0], image[..., 0]))), False)
    assert not values_equal(
        "image", *map(codec.media, map(codec.encode_png, (image[..., 0], image[..., 0] ^ 1))), False
    )


def rewritten(name: str, change: Callable[[Any], Any]) -> Callable[[Path], object]:
    """A JSON file of the folder, changed."""
    return lambda out: (out / name).write_text(json.dumps(change(json.loads((out / name).read_text()))))


DAMAGE: list[tuple[str, Callable[[Path], object]]] = [
    ("_skipped.jsonl", lambda out: (out / "_skipped.jsonl").write_text("junk\n")),
    ("_skipped.jsonl", lambda out: (out / "_skipped.jsonl").write_text(skips(out).replace("truncated", "other"))),
    ("_records/00000.json", lambda out: (out / "_records/00000.json").write_text("{}")),
    ("_records/00000.json", lambda out: (out / "_records/00000.json").write_text("[]")),
    ("UserError: reading", rewritten("_manifest.json", lambda m: {**m, "exceptions": {}})),
    ("_manifest.json", rewritten("_manifest.json", lambda m: {**m, "options": {**m["options"], "size": 5}})),
    ("UserError: artefacts", rewritten("_manifest.json", lambda m: {k: m[k] for k in m if k != "artefacts"})),
    ("UserError: task", rewritten("_manifest.json", lambda m: {**m, "task": ["x"]})),
    ("UserError: --zz", rewritten("_manifest.json", lambda m: {**m, "fields": {"zz": 1}, "options": {"zz": 1}})),
    ("UserError: `fields`", rewritten("_manifest.json", lambda m: {**m, "fields": None})),
    ("data/train-00000.parquet", lambda out: retold(out, {"pseudolabel": "[]", "huggingface": "no JSON"})),
    ("data/train-00000.parquet", lambda out: misspelt(out)),
]


def skips(out: Path) -> str:
    return (out / "_skipped.jsonl").read_text()


def retold(out: Path, metadata: dict[str, str]) -> None:
    pq.write_table(pq.read_table(shard(out)).replace_schema_metadata(metadata), shard(out))


def misspelt(out: Path) -> None:
    """A key that is no UTF-8."""
    table = pq.read_table(shard(out))
    keys = [b"\xff\xfe", *(key.encode() for key in table["key"].to_pylist()[1:])]
    wrong = pa.Array.from_buffers(pa.string(), len(keys), pa.array(keys, pa.binary()).buffers())
    pq.write_table(table.set_column(0, table.schema.field(0), wrong), shard(out))


def test_damage_is_said_in_a_line_that_names_the_file(made: Made, tmp_path: Path) -> None:
    for number, (where, harm) in enumerate(DAMAGE):
        out = Path(shutil.copytree(made["rotate"], tmp_path / str(number)))
        harm(out)
        if where.startswith("UserError: "):
            with pytest.raises(UserError, match=where.partition(": ")[2]) as refused:
                verify(out, workers=1)
            assert "\n" not in str(refused.value)
        else:
            assert where in named(verify(out, workers=1)), where


def test_what_was_left_out_is_compared(made: Made, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made["rotate"], tmp_path / "out"))
    for name in ("_skipped.jsonl", "_records/00000.skipped.jsonl"):
        (out / name).write_text((out / name).read_text().replace("truncated", "other"))
    assert set(named(verify(out, source(TASKS["rotate"]()), workers=1))) == {"hills/broken.jpg"}


def test_an_option_that_no_row_depended_on_may_be_gone(made: Made, tmp_path: Path) -> None:
    """As `compare_folders` is, which only added to what was printed; one that rows depend on is named."""
    out = Path(shutil.copytree(made["cluster"], tmp_path / "out"))
    manifest = json.loads((out / "_manifest.json").read_text())
    manifest["fields"]["compare_folders"] = True
    (out / "_manifest.json").write_text(json.dumps(manifest))
    assert verify(out, workers=1).has_no_fault
    manifest["fields"]["shades"] = manifest["options"]["shades"] = 3
    (out / "_manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="with --shades, which this version does not have"):
        verify(out, workers=1)
