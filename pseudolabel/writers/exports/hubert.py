"""Write the files of a HuBERT trainer from a finished `mask-audio` dataset. Each row is checked as it is written.

The format is that of fairseq 0.12.2: fairseq/data/audio/hubert_dataset.py, audio_utils.py,
fairseq/tasks/hubert_pretraining.py.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from zipfile import ZipFile, ZipInfo

import numpy as np

from pseudolabel.contracts import UserError, parse_choice
from pseudolabel.storage.stores import Disk
from pseudolabel.storage.urls import is_url
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.writers.dataset import Dataset, open_dataset

TASK = "mask-audio"  # the one task whose rows these trainers can read
SPLITS = {"train": "train", "validation": "valid"}  # ours, theirs
CODEBOOK_ARRAYS = {"centroids.npz": "centroids", "quantiser.npz": "codebook"}  # artefact, its array of (classes, D)
BATCH_ROWS = 16
Row = dict[str, Any]
Put = Callable[[str, bytes], str]  # (name, sound) -> the path of the stored sound, as train.tsv names it


class Trainer(StrEnum):
    """The trainer whose files are written."""

    fairseq = "fairseq"


class Labels(NamedTuple):
    """Which labels are written, and what every row must agree with."""

    column: str
    hz: int  # labels a second
    classes: int
    rate: int  # samples a second
    learned: bool  # by k-means: one label for each frame of 25 ms; else a label may be of several frames


def export(dataset: Path | str, to: str = "fairseq", out: Path | str | None = None) -> dict[str, Any]:
    """Write the files of trainer `to` into folder `out`, which is whole at the end or not there; say what they are.

    `out` is by default the dataset's name, a dash and the trainer, in the current folder.
    """
    if is_url(dataset):
        raise UserError(f"export reads from a disk; fetch the dataset first, as by: aws s3 sync {dataset} DIR")
    trainer, source = parse_choice(Trainer, to, "--to"), Path(os.path.abspath(dataset))
    manifest = read_exportable(source).manifest
    labels = labels_of(source, manifest)
    folder = resolve_folder(source, Path(os.path.abspath(out or f"{source.name}-{trainer}")))
    rows = {}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f"{folder.name}.work-", dir=folder.parent) as beside:
        work = Path(beside, folder.name)  # everybody may read it, unlike `beside`
        work.mkdir()
        for ours, theirs in SPLITS.items():
            if shards := [shard for shard in manifest["shards"] if shard["split"] == ours]:
                paths = [source / "data" / shard["name"] for shard in shards]
                rows[theirs] = sum(shard["rows"] for shard in shards) // manifest["copies"]
                write(work, folder, theirs, paths, labels, rows[theirs])
        (work / "dict.km.txt").write_text("".join(f"{i} 1\n" for i in range(labels.classes)))
        about = README.format(dataset=source, folder=folder, **labels._asdict())
        (work / "README.txt").write_text(about, "utf-8", "backslashreplace")
        os.sync()  # a million files, each by itself, would take hours
        (home := Disk(folder.parent)).commit(work, folder.name)
        home.fsync("")
    facts = {"out": str(folder), "rows": rows, "label_rate": labels.hz, "classes": labels.classes}
    remark = {"lacking": "validation, which the trainers want: make the dataset again with --validation 0.01"}
    return facts if "valid" in rows else {**facts, **remark}


# --- what is there ---------------------------------------------------------------------------------------------------


def read_exportable(folder: Path) -> Dataset:
    """Return the `mask-audio` dataset in `folder`. Raise `UserError` if it is none, or if a shard is missing or cut."""
    dataset = open_dataset(folder)
    if dataset.manifest["task"] != TASK:
        raise UserError(f"{folder} is a dataset of {dataset.manifest['task']}; only those of {TASK} can be exported")
    for shard in dataset.manifest["shards"]:
        path = folder / "data" / shard["name"]
        if not path.exists() or path.stat().st_size != shard["bytes"]:
            raise UserError(f"{path} is not as it was made; rerun the command that made it, then export", 4)
    return dataset


def labels_of(dataset: Path, manifest: Mapping[str, Any]) -> Labels:
    """Which labels there are: at 100 Hz if any are, for the trainers expect those of MFCC to be."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(dataset / "data" / manifest["shards"][0]["name"]) as file:
        schema = file.schema_arrow
        hz = int(next(file.iter_batches(1, columns=["label_hz"]))["label_hz"][0].as_py())
    rate = json.loads(schema.metadata[b"huggingface"])["info"]["features"]["audio"]["sampling_rate"]
    column, hz = ("labels_100hz", 100) if "labels_100hz" in schema.names else ("labels", hz)
    for book, array in CODEBOOK_ARRAYS.items():
        if (dataset / book).exists():
            with np.load(dataset / book) as arrays:
                return Labels(column, hz, len(arrays[array]), rate, learned=array == "centroids")
    raise UserError(
        f"{dataset} has lost its {' or '.join(CODEBOOK_ARRAYS)}, which says how many classes there are; restore it", 4
    )


def resolve_folder(dataset: Path, folder: Path) -> Path:
    """Where the files go: not onto anything, nor to where the trainers would misread the name."""
    if folder == dataset or dataset in folder.parents:
        raise UserError(f"{folder} lies inside the dataset; give another folder with --out FOLDER")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UserError(f"{folder} exists and is no empty folder; give another with --out FOLDER", 4)
    if ":" in str(folder) or not str(folder).isprintable() or str(folder) != str(folder).strip():
        raise UserError(f"the trainers cut {str(folder)!r} at colons and line ends; give --out FOLDER without them")
    return folder


# --- rows ------------------------------------------------------------------------------------------------------------


def write(work: Path, root: Path, split: str, shards: Sequence[Path], labels: Labels, rows: int) -> None:
    """Write the list of a split's sounds, `path TAB samples` below `root`, and line by line the labels of each."""
    paths = [work / f"{split}.tsv", work / f"{split}.km"]
    with paths[0].open("w", encoding="utf-8") as sounds, paths[1].open("w") as lines:
        sounds.write(f"{root}\n")
        for shard in shards:
            with write_zip(work, shard.stem) as put:
                for row in read_rows(shard, labels):
                    sound = row["audio"]["bytes"]
                    sounds.write(f"{put(sound_name(row['key'], row['copy']), sound)}\t{streaminfo(sound)[2]}\n")
                    lines.write(f"{' '.join(map(str, row[labels.column]))}\n")
    listed, labelled = map(lines_of, paths)
    if not listed - 1 == labelled == rows:
        raise UserError(f"{split}: {rows} rows made {listed - 1} lines of sounds and {labelled} of labels", 3)


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    with path.open("rb") as file:
        return sum(1 for _ in file)


def read_rows(shard: Path, labels: Labels) -> Iterator[Row]:
    """The rows of a shard in their order, few of them in memory at a time; of copies, the first."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    columns = ["key", "copy", labels.column, "seconds", "audio.bytes"]
    sparing = {"pre_buffer": False, "buffer_size": 1 << 20}  # else a shard stays in memory until its last row is read
    with pq.ParquetFile(shard, page_checksum_verification=True, **sparing) as file:
        for batch in file.iter_batches(BATCH_ROWS, columns=columns):
            for row in batch.filter(pc.field("copy") == 0).to_pylist():
                if wrong := row_fault(row, labels):
                    raise UserError(f"{row['key']}: {wrong}; nothing was exported: make the dataset again", 3)
                yield row


def row_fault(row: Row, labels: Labels) -> str | None:
    """What is wrong with a row. The trainers would train on it all the same, and badly."""
    ids, (rate, channels, samples) = row[labels.column], streaminfo(row["audio"]["bytes"])
    if (rate, channels) != (labels.rate, 1):
        return f"its sound is no FLAC of one channel at {labels.rate} Hz"
    if abs(samples / rate - row["seconds"]) > 0.001:
        return f"its sound has {samples / rate:.3f} s, its row says {row['seconds']:.3f} s"
    if not ids or not 0 <= min(ids) <= max(ids) < labels.classes:
        return f"its labels are not of 0 to {labels.classes - 1}"
    frames = audio_features.frame_count(samples, rate // labels.hz, rate // 40)
    apart = abs(len(ids) / labels.hz - samples / rate)  # seconds
    if len(ids) != frames if labels.learned else apart > 0.025 + 1 / labels.hz:
        return f"its {len(ids)} labels at {labels.hz} Hz do not fit a sound of {samples / rate:.3f} s"
    return None


def streaminfo(flac: bytes) -> tuple[int, int, int]:
    """Hz, channels and samples, as a FLAC's first block has them (RFC 9639, 8.2); zeros of anything else."""
    if flac[:4] != b"fLaC" or len(flac) < 42:
        return 0, 0, 0
    packed = int.from_bytes(flac[18:26], "big")  # 20 bits of Hz, 3 of channels less 1, 5 of depth less 1, 36 of samples
    return packed >> 44, (packed >> 41 & 7) + 1, packed & (1 << 36) - 1


def sound_name(key: str, copy: int) -> str:
    """A file name that people recognise, and that no other row has."""
    plain = re.sub("[^A-Za-z0-9.-]+", "_", key)[-80:].strip("._-")
    return f"{plain}-{blake2b(f'{copy}/{key}'.encode(), digest_size=8).hexdigest()}.flac"


# --- what a trainer reads --------------------------------------------------------------------------------------------


@contextmanager
def write_zip(work: Path, shard: str) -> Iterator[Put]:
    """One zip, nothing in it compressed: fairseq reads `zip:offset:length`. The same sounds give the same bytes."""
    path = work / "audio" / f"{shard}.zip"
    path.parent.mkdir(exist_ok=True)
    with path.open("xb") as file, ZipFile(file, "w") as archive:

        def put(name: str, sound: bytes) -> str:
            archive.writestr(ZipInfo(name), sound)  # dated 1980
            return f"audio/{path.name}:{file.tell() - len(sound)}:{len(sound)}"

        yield put


README = """\
Written by `pseudolabel export --to fairseq` from {dataset}, for fairseq 0.12.2 or later, which reads sound out of zips.

train.tsv, valid.tsv  this folder, then zip:offset:length and samples of each utterance; if it moves, change line 1
train.km, valid.km    the labels of each utterance, in the same order: label_rate {hz}
dict.km.txt           the {classes} classes
audio/                the sound, FLAC of {rate} Hz

fairseq-hydra-train --config-dir FAIRSEQ/examples/hubert/config/pretrain --config-name hubert_base_librispeech \\
  task.data={folder} task.label_dir={folder} task.labels='["km"]' model.label_rate={hz} task.sample_rate={rate}

It draws masks of its own, and leaves out utterances below 32,000 samples (task.min_sample_size).
"""
