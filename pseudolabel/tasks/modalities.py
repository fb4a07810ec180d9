"""Modalities: what a task over any of them must know of each. Another one is another entry of `MODALITIES`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

from pseudolabel import pixels, waves
from pseudolabel.columns import Column
from pseudolabel.describing import Stored
from pseudolabel.plan import in_source_order
from pseudolabel.readers import files
from pseudolabel.readers.audio import AudioOptions, Sounds
from pseudolabel.readers.images import ImageOptions, Images
from pseudolabel.readers.text import Documents, TextOptions
from pseudolabel.sample import Refused, Sample, file_of, splits
from pseudolabel.tasks.base import Reader, Row


class Modality(StrEnum):
    """What a source is of."""

    images = "images"
    sound = "sound"
    text = "text"


class Kind(NamedTuple):
    """What is different for a modality."""

    options: type  # how it is read: a dataclass
    reader: Callable[[Any], Reader]
    stored: Callable[[Sample, int], Stored]  # a sample, and the side of pictures -> what the rows hold and features see
    rows: Callable[[Stored, bool], Iterator[Row]]  # one for each key, with the input or without
    columns: Callable[[Any], Sequence[Column]]  # of the input, first, and about it
    sets: tuple[str, ...]  # of features; the first is what is used unless told otherwise
    depends: tuple[str, ...]  # options that the features depend on
    megabytes: int  # of what features are made of, that clusters are learned from
    is_file: bool = False  # whether a file is a sample
    encodes: bool = True  # whether a network can be given what is stored


def picture(sample: Sample, side: int) -> Stored:
    """The picture as it will be decoded from the row: shrunk so that its short side is at most `side`, a JPEG."""
    height, width, _ = sample.payload.shape
    scale = min(1.0, side / min(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    encoded = pixels.encode_jpeg(sample.payload if scale == 1 else pixels.resize(sample.payload, *size))
    return Stored([sample.key], pixels.decode_jpeg(encoded), encoded)


def _picture_rows(stored: Stored, inputs: bool) -> Iterator[Row]:
    yield {"image": pixels.media(stored.encoded)} if inputs else {}


def _sound_rows(stored: Stored, inputs: bool) -> Iterator[Row]:
    sound = stored.payload
    row: Row = {"seconds": len(sound.wave) / sound.rate, "ceiling": waves.ceiling(sound.rate, sound.heard)}
    yield {**row, "audio": pixels.media(waves.encode_flac(sound.wave, sound.rate))} if inputs else row


def _documents(sample: Sample, side: int) -> Stored:
    file = file_of(sample.key)
    return Stored([f"{file}#{position}" for position in sample.payload.positions.tolist()], sample.payload)


def _document_rows(stored: Stored, inputs: bool) -> Iterator[Row]:
    for text in stored.payload.texts():
        yield {"text": text.decode()} if inputs else {}


def _sound_columns(task: Any) -> Sequence[Column]:
    return (
        Column("audio", f"audio<{task.rate}>", "input", "The sound, whole. FLAC, mono."),
        Column("seconds", "float32", "about", "How long the sound is."),
        Column("ceiling", "float32", "about", "Highest Hz of the mel filters that its MFCC are made of."),
    )


MODALITIES: dict[Modality, Kind] = {
    Modality.images: Kind(
        options=ImageOptions,
        reader=Images,
        stored=picture,
        rows=_picture_rows,
        columns=lambda task: [Column("image", "image", "input", "The picture, whole, shrunk to --size. JPEG.")],
        sets=("hog", "coates-ng", "pixels"),
        depends=("size",),
        megabytes=160,
        is_file=True,
    ),
    Modality.sound: Kind(
        options=AudioOptions,
        reader=Sounds,
        stored=lambda sample, side: Stored([sample.key], sample.payload),
        rows=_sound_rows,
        columns=_sound_columns,
        sets=("mfcc",),
        depends=("rate",),
        megabytes=64,
    ),
    Modality.text: Kind(
        options=TextOptions,
        reader=Documents,
        stored=_documents,
        rows=_document_rows,
        columns=lambda task: [Column("text", "string", "input", "The document, whole.")],
        sets=("tf-idf",),
        depends=(),
        megabytes=32,
        encodes=False,
    ),
}


def found(sources: Sequence[Path]) -> Modality:
    """The modality that the source's files are of; refused where they are of several, or of none."""
    suffixes = {modality: tuple(kind.reader(None).suffixes) for modality, kind in MODALITIES.items()}
    counts = Counter[Modality]()
    for file in files.find(sources, frozenset().union(*suffixes.values())):
        if file.candidate:
            counts.update(modality for modality, ends in suffixes.items() if file.path.lower().endswith(ends))
    if len(counts) > 1:
        said = ", ".join(f"{count:,} of {modality}" for modality, count in counts.most_common())
        raise Refused(f"the source has files {said}; choose with --modality {counts.most_common()[0][0]}")
    if not counts:
        raise Refused(f"nothing to read in {' '.join(map(str, sources))}: no file of {', '.join(MODALITIES)}", code=5)
    return next(iter(counts))


def check_own(task: Any, modality: Modality) -> None:
    """Refuse options that are for another modality."""
    own = {field.name for field in fields(MODALITIES[modality].options)}
    for other, kind in MODALITIES.items():
        defaults = {field.name: field.default for field in fields(type(task))}
        for name in {field.name for field in fields(kind.options)} | set(kind.depends):
            if other != modality and name not in own and getattr(task, name) != defaults[name]:
                raise Refused(f"--{name.replace('_', '-')} is for {other}, and the source is {modality}; leave it out")


def keys(task: Any, modality: Modality, sources: Sequence[Path]) -> Iterator[str]:
    """The keys of all samples in the source's order: of its files' keys by their bytes, then as they stand in them."""
    kind = MODALITIES[modality]
    reader = kind.reader(task)
    every = (file for file in files.find(sources, reader.suffixes) if file.candidate)
    for extent in in_source_order(extent for file in every for extent in reader.scan(file.key, file.path, file.size)):
        if kind.is_file:
            yield extent.key
        else:
            items = reader.read([extent], splits(0.0)[0])
            yield from (key for item in items if isinstance(item, Sample) for key in kind.stored(item, 0).keys)
