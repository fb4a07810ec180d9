"""What every task promises, asked of each one."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from io import BytesIO
from math import inf, nan
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pyarrow.parquet as pq
import pytest
from runs import Made, each_kind, source, sums

from pseudolabel import Task, run
from pseudolabel import rows as stream_rows
from pseudolabel.contracts import Chance, Sample, UserError, arrow_schema
from pseudolabel.tasks.base.task import row_columns


def test_is_a_frozen_described_dataclass(task: Task) -> None:
    assert task.__doc__
    assert task.description.paper
    assert task == type(task)()
    with pytest.raises(FrozenInstanceError):
        task.name = "other"  # type: ignore[misc]
    for name, hint in get_type_hints(type(task), include_extras=True).items():
        if name in {field.name for field in fields(task)}:
            assert hint.__metadata__[0].help, f"{name} has a help text"
    assert pickle.loads(pickle.dumps(task)) == task


def test_every_option_is_checked(task: Task) -> None:
    """A value of another type, or beyond a bound of the option, is refused by the option's name, from Python too."""
    for name, hint in get_type_hints(type(task), include_extras=True).items():
        if name in {field.name for field in fields(task)}:
            option = f"--{name.replace('_', '-')}"
            bounds = hint.__metadata__[0]
            beyond = [] if bounds.min is None else [bounds.min - 1]
            beyond += [] if bounds.max in (None, inf) else [bounds.max + 1]
            for wrong in (b"1", object(), [1, 2, 3], nan, *beyond):
                with pytest.raises(UserError, match=f"^{option} .*(give|choose among) "):
                    type(task)(**{name: wrong})
            if str not in (hint.__args__[0], *get_args(hint.__args__[0])):
                with pytest.raises(UserError, match=f"^{option} "):
                    type(task)(**{name: "nonsense"})


def test_columns(task: Task) -> None:
    columns = row_columns(task)
    names = [column.name for column in columns]
    assert names[:2] == ["key", "copy"]
    assert not {"label", "labels"} <= set(names), "a trainer's collator would write one over the other"
    assert {"input", "label"} <= {column.role for column in columns}
    assert all(column.meaning.endswith(".") for column in columns)
    assert all(column.names for column in columns if column.type == "class")


def test_rows_are_of_the_schema_and_add_up(task: Task, made: Made) -> None:
    out = made[task.name]
    expected = arrow_schema(row_columns(task), {})
    assert {path.name.split("-")[0] for path in (out / "data").iterdir()} == {"train", "validation"}
    for path in (out / "data").iterdir():
        file = pq.ParquetFile(path)
        assert file.schema_arrow.equals(expected)
        assert file.schema_arrow.metadata[b"huggingface"] == expected.metadata[b"huggingface"]
        assert file.metadata.num_rows > 0
        for name, column in zip(file.schema_arrow.names, file.read().columns, strict=True):
            assert column.null_count == 0, name
    rows = pq.read_table(out / "data")
    assert set(rows["copy"].to_pylist()) == {0, 1}
    assert len(set(map(repr, rows.to_pylist()))) == len(rows), "no row is there twice"


@each_kind
def test_same_seed_same_bytes_other_seed_other(task: Task, made: Made, tmp_path: Path) -> None:
    run(task, source(task), out=tmp_path / "same", copies=2, validation=0.3, workers=2)
    assert sums(tmp_path / "same") == sums(made[task.name])
    one, other = (stream_rows(task, source(task), seed=seed, artefacts=made[task.name]) for seed in (0, 1))
    assert list(map(repr, one)) != list(map(repr, other))


def test_chance_is_the_argument_and_the_input_stays(task: Task, made: Made) -> None:
    """Global dice are not thrown, payloads not written to, and each copy has chance of its own."""
    np.random.seed(5)  # noqa: NPY002 - it is the state of these that is watched
    random.seed(5)
    before = np.random.get_state()[1].copy(), random.getstate()  # type: ignore[index]  # noqa: NPY002
    asked: list[tuple[str, int]] = []
    rows = _label(task, made[task.name], asked)
    assert rows
    assert np.array_equal(before[0], np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002
    assert before[1] == random.getstate()
    assert len(set(asked)) == len(asked), "no generator is shared"
    assert {copy for _, copy in asked} == {0, 1}


def _label(task: Task, artefacts: Path, asked: list[tuple[str, int]]) -> list[Any]:
    from pseudolabel.contracts import chance_for, splits

    chance = chance_for(0, task.name)

    def asking(key: str, copy: int) -> np.random.Generator:
        asked.append((key, copy))
        return chance(key, copy)

    reader = task.reader()
    extents = [e for p in sorted(source(task).rglob("*.*")) for e in reader.scan(p.name, str(p), p.stat().st_size)]
    samples = (_sealed(item) for item in reader.read(extents, splits(0)[0]) if isinstance(item, Sample))
    made: Chance = asking
    return list(task.labeler(artefacts).label(samples, made, 2))


def _sealed(sample: Sample) -> Sample:
    """The sample with its arrays read-only: whoever writes to them raises."""
    for array in _arrays(sample.payload):
        array.flags.writeable = False
    return sample


def _arrays(payload: Any) -> Iterator[np.ndarray]:
    if isinstance(payload, np.ndarray):
        yield payload
    elif isinstance(payload, tuple):
        for part in payload:
            yield from _arrays(part)


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
