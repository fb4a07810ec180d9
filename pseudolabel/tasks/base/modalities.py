"""Modalities: which tasks read each one, and what `cluster` needs to know of it. Each is an entry of `MODALITIES`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import Column, Sample, UserError, file_of, number_of, some_of
from pseudolabel.readers.audio.packets import has_only_sound
from pseudolabel.readers.audio.reader import AudioOptions, AudioReader, Utterance
from pseudolabel.readers.image.reader import ImageOptions, ImageReader
from pseudolabel.readers.metadata.sidecars import SIDECAR_NAMES
from pseudolabel.readers.sources import files, formats
from pseudolabel.readers.sources.location import file_name
from pseudolabel.readers.sources.order import sort_extents, source_order
from pseudolabel.readers.text.blocks import pack
from pseudolabel.readers.text.reader import TextOptions, TextReader
from pseudolabel.readers.video.reader import TREATMENT, Clip, VideoOptions, VideoReader
from pseudolabel.tasks.base.media import Encoded
from pseudolabel.tasks.base.task import TASKS, Reader, Row
from pseudolabel.transforms.audio import codec as audio_codec
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.transforms.clustering.feature_sets import StoredSample
from pseudolabel.transforms.image import codec, ops


class Modality(StrEnum):
    """The modality of a source; the value of `--modality`."""

    images = "images"
    sound = "sound"
    text = "text"
    video = "video"


class Kind(NamedTuple):
    """A modality: its reader, the stored form of its samples, its columns and its feature sets."""

    options: type  # dataclass of the reader's options: a task that has them reads this modality
    suffixes: frozenset[str]
    samples: str  # what a sample is called, in the plural
    example: str  # a folder, for examples in help and docs
    reader: Callable[[Any], Reader]
    stored: Callable[[Sample, int], StoredSample]  # (sample, --size) -> the sample as it is stored
    rows: Callable[[StoredSample, bool], Iterator[Row]]  # (sample, whether to store its input) -> one row per key
    restored: Callable[[Row], StoredSample]  # the inverse of `rows`, for a row with its input
    columns: Callable[[Any], Sequence[Column]]  # task -> the input column, then columns about the input
    sets: tuple[str, ...]  # names of feature sets; the first is the default
    depends: tuple[str, ...]  # task options that the features depend on
    is_file: bool = False  # whether each file is one sample
    encodes: bool = True  # whether a network (`--encoder`) accepts the stored sample
    notes: tuple[str, ...] = ()  # how the input was read, for the card
    averages: bool = False  # whether a sample is several images, whose features are averaged


def _picture(sample: Sample, side: int) -> StoredSample:
    """Shrink an image to a short side of at most `side` pixels, as JPEG. The payload is the decoded JPEG."""
    height, width, _ = sample.payload.shape
    scale = min(1.0, side / min(height, width))
    size = max(1, round(height * scale)), max(1, round(width * scale))
    encoded = codec.encode_jpeg(sample.payload if scale == 1 else ops.resize(sample.payload, *size))
    return StoredSample([sample.key], codec.decode_stored(codec.media(encoded)), [encoded])


def _clip(sample: Sample, side: int) -> StoredSample:
    encoded = [codec.encode_jpeg(frame) for frame in sample.payload.frames]  # resized to --size by the reader
    frames = np.stack([codec.decode_stored(codec.media(one)) for one in encoded])
    return StoredSample([sample.key], sample.payload._replace(frames=frames), encoded)


def _clip_rows(stored: StoredSample, inputs: bool) -> Iterator[Row]:
    row: Row = {"timestamps": stored.payload.times.tolist()}
    yield {**row, "frames": [*map(Encoded, stored.payload.frames, stored.encoded)]} if inputs else row


def _restore_clip(row: Row) -> StoredSample:
    frames = np.stack([codec.decode_stored(one) for one in row["frames"]])
    return StoredSample([row["key"]], Clip(frames, np.array(row["timestamps"])))


def _sound_rows(stored: StoredSample, inputs: bool) -> Iterator[Row]:
    sound = stored.payload
    row: Row = {
        "seconds": len(sound.wave) / sound.rate,
        "ceiling": audio_features.filter_ceiling(sound.rate, sound.heard),
    }
    yield {**row, "audio": Encoded(sound.wave, sound.encoded) if sound.encoded else sound.wave} if inputs else row


def _documents(sample: Sample, side: int) -> StoredSample:
    file = file_of(sample.key)
    return StoredSample([f"{file}#{position}" for position in sample.payload.positions.tolist()], sample.payload)


MODALITIES: dict[Modality, Kind] = {
    Modality.images: Kind(
        options=ImageOptions,
        suffixes=formats.IMAGES,
        samples="images",
        example="images/",
        reader=lambda task: ImageReader(task, lambda height, width: min(height, width) >= task.size),
        stored=_picture,
        rows=lambda stored, inputs: iter([{"image": Encoded(stored.payload, *stored.encoded)} if inputs else {}]),
        restored=lambda row: StoredSample([row["key"]], codec.decode_stored(row["image"])),
        columns=lambda task: [Column("image", "image", "input", "The whole image, shrunk to --size, as JPEG.")],
        sets=("hog", "pixels"),
        depends=("size",),
        is_file=True,
    ),
    Modality.sound: Kind(
        options=AudioOptions,
        suffixes=formats.AUDIO,
        samples="utterances",
        example="speech/",
        reader=AudioReader,
        stored=lambda sample, side: StoredSample([sample.key], sample.payload),
        rows=_sound_rows,
        restored=lambda row: StoredSample(
            [row["key"]], Utterance(row["key"], *audio_codec.decode_flac(row["audio"]), heard=2 * row["ceiling"])
        ),
        columns=lambda task: [
            Column("audio", f"audio<{task.rate}>", "input", "The whole utterance, as mono FLAC."),
            Column("seconds", "float32", "about", "Duration of the audio in seconds."),
            Column("ceiling", "float32", "about", "Upper frequency limit in Hz of the mel filters of the MFCC."),
        ],
        sets=("mfcc",),
        depends=("rate",),
    ),
    Modality.text: Kind(
        options=TextOptions,
        suffixes=formats.TEXT,
        samples="documents",
        example="corpus/",
        reader=TextReader,
        stored=_documents,
        rows=lambda stored, inputs: ({"text": text.decode()} if inputs else {} for text in stored.payload.texts()),
        restored=lambda row: StoredSample([row["key"]], pack([row["text"].encode()], [0])),
        columns=lambda task: [Column("text", "string", "input", "The whole document.")],
        sets=("tf-idf",),
        depends=(),
        encodes=False,
    ),
    Modality.video: Kind(
        options=VideoOptions,
        suffixes=formats.VIDEO,
        samples="clips",
        example="videos/",
        reader=lambda task: VideoReader(task.sampling, task.size),
        stored=_clip,
        rows=_clip_rows,
        restored=_restore_clip,
        columns=lambda task: [
            Column("frames", "list<image>", "input", "Frames of a clip in temporal order, as JPEG."),
            Column("timestamps", "list<float64>", "about", "Seconds from the first frame of the video to each frame."),
        ],
        sets=("hog", "pixels"),
        depends=("size",),
        notes=(TREATMENT,),
        averages=True,
    ),
}


def modalities_of(task: Any) -> list[Modality]:
    """Return the modalities that a task, or its class, can read."""
    kind = task if isinstance(task, type) else type(task)
    one = getattr(task, "modality", None)
    return [one] if one else [modality for modality, about in MODALITIES.items() if issubclass(kind, about.options)]


def nothing_to_read(task: Any, sources: Sequence[Path], ignored: Mapping[str, int]) -> UserError:
    """Return the error for a source without a file for the task. It names the content, and the tasks that read it.

    `ignored`: suffix -> number of files.
    """
    names, wanted = " ".join(map(str, sources)), modalities_of(task)
    reads = " or ".join(wanted or ["other files"])
    there = {
        modality: {suffix: count for suffix, count in ignored.items() if suffix in kind.suffixes}
        for modality, kind in MODALITIES.items()
    }
    most = max(there, key=lambda modality: sum(there[modality].values()))
    of, remedy, told = "", f"give a source with {reads}", ignored
    if most not in wanted and 2 * sum(there[most].values()) > sum(ignored.values()):
        of, told = f" of {most}", there[most]
        remedy = f"tasks for {most}: {some_of([name for name, one in TASKS.items() if most in modalities_of(one)], 4)}"
    suffixes = some_of([f"{count:,} {suffix}" for suffix, count in told.items()], 4)
    holds = f"{number_of(sum(told.values()), 'files')}{of} ({suffixes})" if told else "no files"
    return UserError(f"nothing to read in {names}: it holds {holds}, and {task.name} reads {reads}\n{remedy}", code=5)


def find_modality(task: Any, sources: Sequence[Path]) -> Modality:
    """Return the modality of the source's files. Raise `UserError` if there are several modalities, or none.

    GIFs have the modality of the other images or videos of the source. If there are no others, GIFs count as both.
    Containers such as MP4 count as video, or as sound if none of them has a video stream. Files whose names match
    `README`, metadata files, and text whose suffix is unknown, count only if there are no other files.
    """
    suffixes, ignored = {modality: tuple(kind.suffixes) for modality, kind in MODALITIES.items()}, Counter[str]()
    counts, torn, notes = Counter[Modality](), Counter[tuple[Modality, ...]](), Counter[Modality]()
    containers, films = 0, False  # MP4 and the like, and whether any of them has a video stream
    for file in files.find_files(sources, frozenset().union(*suffixes.values())):
        if file.candidate:
            name = file_name(file.where).lower()
            kinds = tuple(modality for modality, ends in suffixes.items() if name.endswith(ends))
            by_name = file.key.lower().endswith(suffixes[Modality.text])
            beside = formats.README.fullmatch(name.partition(".")[0]) or name in SIDECAR_NAMES
            if beside or (kinds == (Modality.text,) and not by_name):
                notes.update(kinds)
            elif kinds == (Modality.sound, Modality.video):
                containers += 1
                films = films or not has_only_sound(file.where)
            elif len(kinds) > 1:
                torn[kinds] += 1
            else:
                counts.update(kinds)
        else:
            ignored[file.ignored_as] += 1
    if containers:
        counts[Modality.video if films else Modality.sound] += containers
    for kinds, count in torn.items():
        if not any(kind in counts for kind in kinds):
            counts.update(dict.fromkeys(kinds, count))
    counts = counts or notes
    if len(counts) > 1:
        said = ", ".join(f"{modality} ({count:,})" for modality, count in counts.most_common())
        raise UserError(f"several modalities: {said}; give one, such as --modality {counts.most_common()[0][0]}")
    if not counts:
        raise nothing_to_read(task, sources, ignored)
    return next(iter(counts))


def check_own_options(task: Any, modality: Modality) -> None:
    """Raise `UserError` if an option of another modality is given."""
    own = {field.name for field in fields(MODALITIES[modality].options)} | set(MODALITIES[modality].depends)
    for other, kind in MODALITIES.items():
        defaults = {field.name: field.default for field in fields(type(task))}
        for name in {field.name for field in fields(kind.options)} | set(kind.depends):
            if other != modality and name not in own and getattr(task, name) != defaults[name]:
                raise UserError(f"--{name.replace('_', '-')} is for {other}, not for {modality}; leave it out")


def file_keys(task: Any, modality: Modality, sources: Sequence[Path]) -> Iterator[str]:
    """Yield the key of every sample, sorted by the bytes of the key. Each file of the source must be one sample."""
    reader = MODALITIES[modality].reader(task)
    every = (file for file in files.find_files(sources, reader.suffixes) if file.candidate)
    scanned = (extent for file in every for extent in reader.scan(file.key, file.where, file.size))
    return (extent.key for extent in sort_extents(scanned, source_order))
