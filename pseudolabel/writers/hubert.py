"""HuBERT export: write a finished `mask-audio` dataset as the files of a HuBERT trainer, and check each row.

The format is that of fairseq 0.12.2: fairseq/data/audio/hubert_dataset.py, audio_utils.py,
fairseq/tasks/hubert_pretraining.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.readers.audio.flac import streaminfo
from pseudolabel.storage.layout import DATA
from pseudolabel.storage.stores import Disk
from pseudolabel.storage.urls import is_url
from pseudolabel.tasks.base.task import Row
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.writers.dataset import Dataset, open_dataset

TASK = "mask-audio"  # the only task whose rows a HuBERT trainer can read
SPLITS = {"train": "train", "validation": "valid"}  # our name -> fairseq's name
CODEBOOK_ARRAYS = {"centroids.npz": "centroids", "quantiser.npz": "codebook"}  # artefact -> its (classes, D) array
BATCH_ROWS = 16
Put = Callable[[str, bytes], str]  # (name, FLAC bytes) -> the path of the stored audio in train.tsv


class Labels(NamedTuple):
    """The labels to export, and the properties that every row must have."""

    column: str
    hz: int  # labels per second
    classes: int
    rate: int  # samples per second
    learned: bool  # True: k-means, one label per 25 ms frame; False: a label may cover several frames


def export(dataset: Path | str, out: Path | str | None = None) -> dict[str, Any]:
    """Write the files of fairseq into folder `out` and return a summary. After an error `out` has no files.

    The default of `out` is `<dataset name>-fairseq` in the current folder.
    """
    if is_url(dataset):
        raise UserError(f"export reads only from disk; copy the dataset first, for example: aws s3 sync {dataset} DIR")
    source = Path(os.path.abspath(dataset))
    manifest = read_exportable(source).manifest
    labels = labels_of(source, manifest)
    folder = resolve_folder(source, Path(os.path.abspath(out or f"{source.name}-fairseq")))
    rows = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{folder.name}.work-", dir=folder.parent) as beside:
        work = Path(beside, folder.name)  # readable by all users, unlike `beside`
        work.mkdir()
        for ours, theirs in SPLITS.items():
            if shards := [shard for shard in manifest["shards"] if shard["split"] == ours]:
                paths = [source / DATA / shard["name"] for shard in shards]
                rows[theirs] = sum(shard["rows"] for shard in shards) // manifest["copies"]
                write(work, folder, theirs, paths, labels, rows[theirs])
        (work / "dict.km.txt").write_text("".join(f"{i} 1\n" for i in range(labels.classes)))
        about = README.format(dataset=source, folder=folder, **labels._asdict())
        (work / "README.txt").write_text(about, "utf-8", "backslashreplace")
        os.sync()  # one call for all files and folders of the export
        (home := Disk(folder.parent)).commit(work, folder.name)
        home.fsync("")
    facts = {"out": str(folder), "rows": rows, "label_rate": labels.hz, "classes": labels.classes}
    remark = {"lacking": "a validation split, which trainers need; make the dataset again with --validation 0.01"}
    return facts if "valid" in rows else {**facts, **remark}


# --- the dataset -----------------------------------------------------------------------------------------------------


def read_exportable(folder: Path) -> Dataset:
    """Return the `mask-audio` dataset in `folder`. Raise `UserError` for other datasets and damaged shards."""
    dataset = open_dataset(folder)
    if dataset.manifest["task"] != TASK:
        raise UserError(f"{folder} is a dataset of {dataset.manifest['task']}; only those of {TASK} can be exported")
    for shard in dataset.manifest["shards"]:
        path = folder / DATA / shard["name"]
        if not path.exists() or path.stat().st_size != shard["bytes"]:
            raise UserError(f"{path} is missing or has a wrong size; rerun the command that made it, then export", 4)
    return dataset


def labels_of(dataset: Path, manifest: Mapping[str, Any]) -> Labels:
    """Return the labels to export: those at 100 Hz if present, because trainers expect MFCC labels at 100 Hz."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(dataset / DATA / manifest["shards"][0]["name"]) as file:
        schema = file.schema_arrow
        hz = int(next(file.iter_batches(1, columns=["label_hz"]))["label_hz"][0].as_py())
    rate = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["audio"]["sampling_rate"]
    column, hz = ("labels_100hz", 100) if "labels_100hz" in schema.names else ("labels", hz)
    for book, array in CODEBOOK_ARRAYS.items():
        if (dataset / book).exists():
            with np.load(dataset / book) as arrays:
                return Labels(column, hz, len(arrays[array]), rate, learned=array == "centroids")
    raise UserError(
        f"{dataset} has no {' or '.join(CODEBOOK_ARRAYS)}, which gives the number of classes; restore the file", 4
    )


def resolve_folder(dataset: Path, folder: Path) -> Path:
    """Return `folder`. Raise `UserError` if it is in the dataset, not empty, or has a name that trainers misread."""
    if folder == dataset or dataset in folder.parents:
        raise UserError(f"{folder} is inside the dataset; give another folder with --out FOLDER")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} exists and is not an empty folder; give another one with --out FOLDER", 4)
    if ":" in str(folder) or not str(folder).isprintable() or str(folder) != str(folder).strip():
        raise UserError(f"trainers misread colons, line ends and outer spaces in {str(folder)!r}; give another --out")
    return folder


# --- rows ------------------------------------------------------------------------------------------------------------


def write(work: Path, root: Path, split: str, shards: Sequence[Path], labels: Labels, rows: int) -> None:
    """Write `<split>.tsv` (`root`, then `path TAB samples` for each row) and `<split>.km` (the labels of each row)."""
    paths = [work / f"{split}.tsv", work / f"{split}.km"]
    with paths[0].open("w", encoding="utf-8") as sounds, paths[1].open("w") as lines:
        sounds.write(f"{root}\n")
        for shard in shards:
            with write_zip(work, shard.stem) as put:
                for row in read_rows(shard, labels):
                    sound = row["audio"]["bytes"]
                    sounds.write(f"{put(sound_name(row['key'], row['copy']), sound)}\t{streaminfo(sound)[3]}\n")
                    lines.write(f"{' '.join(map(str, row[labels.column]))}\n")
    listed, labelled = map(lines_of, paths)
    if not listed - 1 == labelled == rows:
        raise UserError(f"{split}: {rows} rows gave {listed - 1} audio and {labelled} label lines; please report it", 3)


def lines_of(path: Path) -> int:
    """Return the number of lines in a file."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def read_rows(shard: Path, labels: Labels) -> Iterator[Row]:
    """Yield the rows of copy 0 in a shard, in order, with few rows in memory. Raise `UserError` for a wrong row."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["key", "copy", labels.column, "seconds", "audio.bytes"]
    sparing = {"pre_buffer": False, "buffer_size": 1 << 20}  # by default the shard stays in memory until its last row
    with pq.ParquetFile(shard, page_checksum_verification=True, **sparing) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            for row in batch.filter(pc.field("copy") == 0).to_pylist():
                if wrong := row_fault(row, labels):
                    raise UserError(f"{row['key']}: {wrong}; nothing was exported: make the dataset again", 3)
                yield row


def row_fault(row: Row, labels: Labels) -> str | None:
    """Return the fault of a row, or None. Trainers do not check rows and would train on a wrong one."""
    ids, (rate, channels, _, samples) = row[labels.column], streaminfo(row["audio"]["bytes"])
    if (rate, channels) != (labels.rate, 1):
        return f"its audio is not a FLAC with one channel at {labels.rate} Hz"
    if abs(samples / rate - row["seconds"]) > 0.001:
        return f"its audio has {samples / rate:.3f} s, its column `seconds` {row['seconds']:.3f} s"
    if not ids or not 0 <= min(ids) <= max(ids) < labels.classes:
        return f"its labels are missing or outside 0 to {labels.classes - 1}"
    frames = audio_features.frame_count(samples, rate // labels.hz, rate // 40)
    apart = abs(len(ids) / labels.hz - samples / rate)  # seconds
    if len(ids) != frames if labels.learned else apart > 0.025 + 1 / labels.hz:
        return f"its {len(ids)} labels at {labels.hz} Hz do not fit audio of {samples / rate:.3f} s"
    return None


def sound_name(key: str, copy: int) -> str:
    """Return a readable file name that is unique to the row: the end of its key and a hash."""
    plain = re.sub("[^A-Za-z0-9.-]+", "_", key)[-80:].strip("._-")
    return f"{plain}-{blake2b(f'{copy}/{key}'.encode(), digest_size=8).hexdigest()}.flac"


# --- the trainer's files ---------------------------------------------------------------------------------------------


@contextmanager
def write_zip(work: Path, shard: str) -> Iterator[Put]:
    """Yield a function that adds audio to a zip without compression, because fairseq reads `zip:offset:length`."""
    path = work / "audio" / f"{shard}.zip"
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as file, ZipFile(file, "w") as archive:

        def put(name: str, sound: bytes) -> str:
            archive.writestr(ZipInfo(name), sound)  # its default date, 1980, keeps the bytes equal
            return f"audio/{path.name}:{file.tell() - len(sound)}:{len(sound)}"

        yield put


README = """\
Written by `pseudolabel export` from {dataset}, for fairseq 0.12.2 or later, which reads audio in zips.

train.tsv, valid.tsv  this folder (if you move it, change line 1), then zip:offset:length and samples of each utterance
train.km, valid.km    the labels of each utterance, in the same order: label_rate {hz}
dict.km.txt           the {classes} classes
audio/                the audio, FLAC at {rate} Hz

fairseq-hydra-train --config-dir FAIRSEQ/examples/hubert/config/pretrain --config-name hubert_base_librispeech \\
  task.data={folder} task.label_dir={folder} task.labels='["km"]' model.label_rate={hz} task.sample_rate={rate}

fairseq draws its own masks and skips utterances below 32,000 samples (task.min_sample_size).
"""
