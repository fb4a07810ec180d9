"""Masked speech: tell the codes of hidden stretches. Hsu et al. 2021 (HuBERT), Chiu et al. 2022 (BEST-RQ)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import (
    MEGABYTE,
    Column,
    FilteredSample,
    Piece,
    Sample,
    SampleError,
    UnusableSample,
    UserError,
    Wave,
)
from pseudolabel.readers.audio.reader import Utterance
from pseudolabel.tasks.base.task import AudioTask, Description, Labeler, PerSampleLabeler, Row
from pseudolabel.transforms.audio import codec as audio_codec
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.transforms.audio.masks import SpanMaskPreset, span_mask
from pseudolabel.transforms.clustering import codebooks
from pseudolabel.transforms.clustering.clusters import MIN_POINTS_PER_CLUSTER
from pseudolabel.transforms.clustering.codebooks import Centroids, Projection
from pseudolabel.transforms.clustering.precomputed import FrameFeatures
from pseudolabel.transforms.image import codec

DEFAULT_CLUSTERS = 100  # of k-means: HuBERT's first iteration
MEL_BINS, FRAMES_PER_LABEL, CODES, CODE_DIMENSIONS = (
    80,
    4,
    8192,
    16,
)  # of BEST-RQ: bins, frames to a label, codes, dimensions of a code
CODEBOOK_HELP = "Label with the centroids.npz or quantiser.npz of a dataset made before, and learn nothing."
FEATURES_HELP = "Cluster features of a model, at 50 Hz: a folder of KEY.npy, or Parquet with key and features."
CEILING_HELP = (
    "Highest Hz of the mel filters. Sources of several rates want half of the lowest, or codes tell the rate. "
    "[half of each source's own]"
)
PRESET_HELP = "Whose masks. wav2vec2 hides 49 % of the frames, hubert 57 %, best-rq 33 %. [hubert; of best-rq, best-rq]"


class Targets(StrEnum):
    """Where the codes come from."""

    kmeans = "kmeans"
    best_rq = "best-rq"


def _notes(task: MaskAudio, artefacts: Path) -> Sequence[str]:
    if not task.observed_megabytes:
        return ()
    arrays, about = codebooks.load_arrays(artefacts / task.book, Centroids._fields)
    each = int(about["points"]) // len(arrays["centroids"])
    few = f"there are only {each} frames to learn each cluster from; {MIN_POINTS_PER_CLUSTER} or more are wanted"
    return (few,) if each < MIN_POINTS_PER_CLUSTER else ()


def _chance_level(task: MaskAudio, artefacts: Path) -> str:
    arrays, _ = codebooks.load_arrays(artefacts / task.book, ())
    codes = arrays["centroids" if task.targets == Targets.kmeans else "codebook"]
    return f"1 in {len(codes):,} for each hidden frame, guessing among the codes"


def _self_verifying(task: MaskAudio) -> bool:
    return not task.features  # codes are of the sound that is stored; a model's features are not


@dataclass(frozen=True)
class MaskAudio(AudioTask):
    """Hide stretches of an utterance; the label is the code of each frame, of k-means or of a random projection.

    `labels[i]` is the code of frame i, `mask[i]` whether it is hidden, both at `label_hz`. With k-means frame i is what
    frame i of the conv encoder of wav2vec 2.0 and HuBERT sees: 400 samples from 320 i on, at 16 kHz; `labels_100hz` has
    a code for each 10 ms, and every second is in `labels`. With BEST-RQ it is four frames of 10 ms. Codes are computed
    from exactly the sound that is stored.
    """

    name: ClassVar[str] = "mask-audio"
    description = Description(
        paper="Hsu et al. 2021, https://arxiv.org/abs/2106.07447; Chiu et al. 2022 (BEST-RQ); Baevski et al. 2020",
        invalidating_augmentations=("another speed", "cropping, if labels and mask are not cropped with it"),
        chance_level=_chance_level,
        notes=_notes,
        self_verifying=_self_verifying,
    )
    artefact_copies: ClassVar[Mapping[str, str]] = {"codebook": "*.npz"}

    targets: Annotated[Targets, Option(help="Codes of k-means over MFCC, or of a random projection.")] = Targets.kmeans
    clusters: Annotated[
        int | None, Option("--clusters", "-k", min=2, max=100_000, help="Clusters of k-means. [100]")
    ] = None
    ceiling: Annotated[float | None, Option(min=1000, help=CEILING_HELP)] = None
    preset: Annotated[SpanMaskPreset | None, Option(help=PRESET_HELP)] = None
    codebook: Annotated[str, Option(help=CODEBOOK_HELP)] = ""
    features: Annotated[str, Option(help=FEATURES_HELP)] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate % 200:
            raise UserError(
                f"--rate {self.rate} has no whole number of samples in 5 ms; give a multiple of 200, as 16000"
            )
        if self.features and self.targets == Targets.best_rq:
            raise UserError("--features are for --targets kmeans; best-rq has features of its own")
        if self.clusters and (self.codebook or self.targets == Targets.best_rq):
            raise UserError("--clusters is for k-means that is to be learned; leave it out")
        if self.codebook:
            self.loaded_codebook  # noqa: B018 - refused where it does not fit
        if self.features:
            self.precomputed  # noqa: B018

    @property
    def book(self) -> str:
        """The artefact's name."""
        return "centroids.npz" if self.targets == Targets.kmeans else "quantiser.npz"

    @property
    def about(self) -> dict[str, Any]:
        """What a codebook must be for, beside its kind."""
        kmeans = self.targets == Targets.kmeans
        kind = {"mfcc": not self.features} if kmeans else {"mel": MEL_BINS, "stack": FRAMES_PER_LABEL}
        return {"rate": self.rate, "ceiling": self.ceiling or 0, **kind}

    @cached_property
    def loaded_codebook(self) -> Centroids | Projection:
        """The codebook that was given."""
        return codebooks.load_frame_codebook(
            Path(self.codebook), Centroids if self.targets == Targets.kmeans else Projection, self.about
        )

    @cached_property
    def precomputed(self) -> FrameFeatures:
        """The features that were given."""
        return FrameFeatures(self.features)

    def options(self) -> Mapping[str, Any]:
        content = {"codebook_sha256": sha256(Path(self.codebook).read_bytes()).hexdigest()} if self.codebook else {}
        content |= {"features_sha256": self.precomputed.digest} if self.features else {}
        own = {name: value for name, value in super().options().items() if name not in ("codebook", "features")}
        return {**own, "preset": self.masks, "clusters": self.count, **content}

    @property
    def count(self) -> int | None:
        """Clusters to learn."""
        return (self.clusters or DEFAULT_CLUSTERS) if self.observed_megabytes else None

    @property
    def observed_megabytes(self) -> int:  # type: ignore[override]
        """Enough for 2,000 frames of MFCC to each of 100 clusters; of a model's features, for 130 to each of 500."""
        if self.targets != Targets.kmeans or self.codebook:
            return 0
        return 192 if self.features else 32

    @property
    def masks(self) -> SpanMaskPreset:
        """Whose masks: those of the targets' own paper unless others are given."""
        if self.preset is not None:
            return self.preset
        return SpanMaskPreset.hubert if self.targets == Targets.kmeans else SpanMaskPreset.best_rq

    @property
    def hz(self) -> float:
        """Labels in a second."""
        return 50.0 if self.targets == Targets.kmeans else 100 / FRAMES_PER_LABEL

    @property
    def twice(self) -> bool:
        """Whether there are codes for each 10 ms, too."""
        return self.targets == Targets.kmeans and not self.features

    def columns(self) -> Sequence[Column]:
        ten = Column(
            "labels_100hz", "list<int32>", "label", "The code of each frame of 10 ms; `labels` is every second."
        )
        return (
            Column("labels", "list<int32>", "label", f"The code of each frame, {self.hz:g} in a second."),
            *([ten] if self.twice else []),
            Column("mask", "list<bool>", "label", "True where a frame is to be hidden, and its code to be told."),
            Column("label_hz", "float32", "about", "Frames in a second, of `labels` and of `mask`."),
            Column("seconds", "float32", "about", "How long the sound is."),
            Column(
                "ceiling",
                "float32",
                "about",
                "Highest Hz of the mel filters that codes are made of: MFCC's, or BEST-RQ's.",
            ),
            Column(
                "audio", f"audio<{self.rate}>", "input", "The sound, whole: the model hides the frames. FLAC, mono."
            ),
        )

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        """The features of a part of the source, a sixteenth of what `fit` takes at most: not of one file alone."""
        room = self.observed_megabytes * MEGABYTE // 16
        for sample in samples:
            try:
                features = self.frame_features(sample.payload)
            except SampleError:  # said when it is labelled
                continue
            yield features
            if (room := room - features.nbytes) <= 0:
                return

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Learn the centroids, or draw the projection; save them for labelling more data the same way."""
        about = dict(self.about)
        if self.codebook:
            book = self.loaded_codebook
        elif self.targets == Targets.kmeans:
            points = [*seen] or [np.empty((0, 1), np.float32)]
            if len(widths := {part.shape[1] for part in points}) > 1:
                sizes = " and ".join(map(str, sorted(widths)))
                raise UserError(f"--features are of {sizes} numbers a frame; give those of one model")
            book = codebooks.fit_centroids(
                np.concatenate(points), self.count or DEFAULT_CLUSTERS, int(rng.integers(2**31))
            )
            about["points"] = sum(map(len, points))
        else:
            book = codebooks.random_projection(MEL_BINS * FRAMES_PER_LABEL, CODES, CODE_DIMENSIONS, rng)
        codebooks.save_arrays(artefacts / self.book, book._asdict(), about)

    def labeler(self, artefacts: Path) -> Labeler:
        kind = Centroids if self.targets == Targets.kmeans else Projection
        return PerSampleLabeler(
            MaskAudioLabeler(self, codebooks.load_frame_codebook(artefacts / self.book, kind, self.about))
        )

    def frame_features(self, sound: Utterance) -> np.ndarray:
        """An utterance as (n, D) float32 features: 100 in a second of MFCC, 50 that were given, 25 of BEST-RQ's."""
        if self.features:
            return self.precomputed.of(sound.key)
        if self.targets == Targets.kmeans:
            return audio_features.mfcc(sound.wave, sound.rate, self.highest(sound))
        mel = audio_features.log_mel(sound.wave, sound.rate, self.highest(sound), MEL_BINS)
        return audio_features.stack_frames((mel - mel.mean(0)) / (mel.std(0) + 1e-5), FRAMES_PER_LABEL)

    def highest(self, sound: Utterance) -> float:
        """The ceiling of the mel filters: never above what the source can hold."""
        return min(sound.rate / 2, sound.heard / 2, self.ceiling or np.inf)


class MaskAudioLabeler(NamedTuple):
    """What labels utterances: the task and its codebook."""

    task: MaskAudio
    book: Centroids | Projection

    def rows(self, sound: Utterance, rng: np.random.Generator) -> Iterator[Row]:
        """The row of an utterance."""
        task, seconds = self.task, len(sound.wave) / sound.rate
        stride, window = (
            size * sound.rate // audio_features.RATE for size in (audio_features.CONV_STRIDE, audio_features.WINDOW)
        )
        frames = audio_features.frame_count(len(sound.wave), stride, window)
        if not frames or not len(features := task.frame_features(sound)):
            raise FilteredSample(f"{seconds:.3f} s, too short for one frame")
        if features.shape[1] != self.book.width:
            raise UnusableSample(f"{features.shape[1]} numbers a frame, the codebook is for {self.book.width}")
        codes = self.book.codes(features)
        row: Row = {"label_hz": task.hz, "seconds": seconds, "ceiling": task.highest(sound)}
        if task.features and len(codes) != frames:
            raise UnusableSample(f"{len(codes)} frames of features for {frames} of sound, at 50 Hz")
        if task.twice:
            row["labels_100hz"] = codes.tolist()
            codes = codes[::2]
        mask = span_mask(task.masks, len(codes), task.hz, rng)
        yield {
            **row,
            "labels": codes.tolist(),
            "mask": mask.tolist(),
            "audio": codec.media(audio_codec.encode_flac(sound.wave, sound.rate)),
        }

    def check_row(self, row: Row, source: Utterance | None) -> str | None:
        """Are the codes those of the sound that is stored, and is that the source's?"""
        task, labels, (wave, rate) = self.task, row["labels"], audio_codec.decode_flac(row["audio"])
        if len(row["mask"]) != len(labels):
            return f"`mask` has {len(row['mask'])} frames, `labels` {len(labels)}"
        if not any(row["mask"]):
            return "`mask` hides nothing"
        if task.twice and row["labels_100hz"][::2] != labels:
            return "`labels` are not every second of `labels_100hz`"
        if not task.features:
            sound = Utterance(row["key"], wave, rate, heard=2 * row["ceiling"])
            codes = self.book.codes(task.frame_features(sound)).tolist()
            if wrong := np.count_nonzero(np.array(codes) != row["labels_100hz" if task.twice else "labels"]):
                return f"{wrong} of {len(codes)} labels are not the codes of the sound that is stored"
        if source is not None and not np.array_equal(wave, source.wave):
            return "`audio` is not the source's sound"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """The sound, what is hidden of it, and its codes."""
        wave, rate = audio_codec.decode_flac(row["audio"])
        yield Wave("", wave, rate, np.array(row["mask"], bool), np.array(row["labels"]))
