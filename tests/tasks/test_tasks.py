"""What every task promises, asked of each one: the checks are those of `pseudolabel.testing`."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from runs import Made, each_kind, source

from pseudolabel import Task
from pseudolabel.tasks.base.task import row_columns
from pseudolabel.testing import checks


def test_fields(task: Task) -> None:
    checks.check_fields(type(task))


@pytest.mark.parametrize("check", [checks.check_definition, checks.check_options, checks.check_columns])
def test_class(check: Callable[[Task], None], task: Task) -> None:
    check(task)


def test_rows(task: Task, made: Made) -> None:
    checks.check_rows(task, made[task.name])


def test_chance(task: Task, made: Made) -> None:
    checks.check_chance(task, made[task.name], source(task))


@each_kind
@pytest.mark.parametrize("check", [checks.check_labels, checks.check_false_labels, checks.check_same_bytes])
def test_dataset(check: Callable[[Task, Path, Path], None], task: Task, made: Made) -> None:
    check(task, made[task.name], source(task))


def test_every_reader_reads_it(task: Task, made: Made, tmp_path: Path) -> None:
    """`datasets`, DuckDB, Polars and pyarrow read the folder as it is, media decoded and classes named."""
    import datasets
    import duckdb
    import polars
    import soundfile
    from PIL import Image

    out = made[task.name]
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path))
    for column in row_columns(task):
        if column.type.startswith("audio<"):  # decoded by torchcodec where it is installed; the bytes are anybody's
            assert loaded["train"].features[column.name].sampling_rate == int(column.type[6:-1])
            loaded = loaded.cast_column(column.name, datasets.Audio(decode=False))
    assert set(loaded) == {"train", "validation"}
    row = loaded["train"][0]
    for column in row_columns(task):
        if column.type == "image":
            assert isinstance(row[column.name], Image.Image)
        if column.type == "list<image>":
            assert all(isinstance(picture, Image.Image) for picture in row[column.name])
        if column.type.startswith("audio<"):
            assert len(soundfile.read(BytesIO(row[column.name]["bytes"]))[0])
        if column.type == "class":
            assert loaded["train"].features[column.name].int2str(row[column.name]) == column.names[row[column.name]]
    count = sum(map(len, loaded.values()))
    assert pq.read_table(out / "data").num_rows == count
    assert duckdb.sql(f"select count(*) from '{out}/data/*.parquet'").fetchall() == [(count,)]
    assert len(polars.read_parquet(out / "data")) == count


def test_media_are_stored_plain_and_the_rest_packed(task: Task, made: Made) -> None:
    metadata = pq.read_metadata(next((made[task.name] / "data").iterdir()))
    for i in range(metadata.num_columns):
        column = metadata.row_group(0).column(i)
        media = column.path_in_schema.endswith("bytes")
        assert column.compression == ("UNCOMPRESSED" if media else "ZSTD"), column.path_in_schema
        assert column.has_dictionary_page == (column.physical_type == "BYTE_ARRAY" and not media), column.path_in_schema
