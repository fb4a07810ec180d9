"""Masked speech: predict the codes of masked frames. Hsu et al. 2021 (HuBERT), Chiu et al. 2022 (BEST-RQ)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Column, FilteredSample, Piece, Sample, UnusableSample, UserError, Wave
from pseudolabel.readers.audio.reader import Utterance
from pseudolabel.storage.files import file_sha256
from pseudolabel.tasks.base.media import Encoded
from pseudolabel.tasks.base.task import AudioTask, Description, Labeler, PerSampleLabeler, Row
from pseudolabel.transforms.audio import codec as audio_codec
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.transforms.audio.masks import SpanMaskPreset, span_mask
from pseudolabel.transforms.clustering import codebooks
from pseudolabel.transforms.clustering.clusters import MIN_POINTS_PER_CLUSTER
from pseudolabel.transforms.clustering.codebooks import Centroids, Projection
from pseudolabel.transforms.clustering.precomputed import FrameFeatures

DEFAULT_CLUSTERS = 100  # k-means clusters of HuBERT's first iteration
MEL_BINS, FRAMES_PER_LABEL, CODES, CODE_DIMENSIONS = 80, 4, 8192, 16  # of BEST-RQ
CODEBOOK_HELP = "Reuse the codebook of an earlier dataset: its centroids.npz or quantiser.npz. Nothing is learned."
FEATURES_HELP = "Cluster a model's features at 50 Hz: a folder of KEY.npy, or of Parquet with columns key and features."
CEILING_HELP = (
    "Upper limit of the mel filters in Hz. If sample rates differ, give half the lowest; else codes reveal the rate. "
    "[half of each source's rate]"
)
NORMALISE_HELP = "Subtract each utterance's mean from its MFCC, so that codes depend less on speaker and microphone."
PRESET_HELP = "Published masks: wav2vec2 49 % of frames, hubert 57 %, best-rq 33 %. [by --targets: hubert or best-rq]"


class Targets(StrEnum):
    """The source of the codes; the value of `--targets`."""

    kmeans = "kmeans"
    best_rq = "best-rq"


def _notes(task: MaskAudio, artefacts: Path) -> Sequence[str]:
    if not task.observed_megabytes:
        return ()
    arrays, about = codebooks.load_arrays(artefacts / task.book, Centroids._fields)
    each = int(about["points"]) // len(arrays["centroids"])
    few = f"k-means learned from only {each} frames per cluster; {MIN_POINTS_PER_CLUSTER} or more are recommended"
    return (few,) if each < MIN_POINTS_PER_CLUSTER else ()


@dataclass(frozen=True)
class MaskAudio(AudioTask):
    """Mask spans of an utterance; the label is the code of each frame, from k-means or from a random projection.

    `labels[i]` is the code of frame i, `mask[i]` whether frame i is masked, both at `label_hz`. With k-means, frame i
    is the input of frame i of the conv encoder of wav2vec 2.0 and HuBERT: samples 320 i to 320 i + 399 at 16 kHz.
    `labels_100hz` has a code every 10 ms; `labels` has every other one. With BEST-RQ, frame i is four frames of 10 ms.
    Without `--features`, codes are computed from exactly the stored audio. By the papers' rules, some places in short
    utterances are masked more often than others. With 21 frames, a guess from the place of a frame and the number of
    frames is right for 73 % of frames; a constant guess is right for 63 %. With `--normalise` (cepstral mean
    normalisation), codes depend less on the speaker: of spoken digits, a linear model of the codes names the digit of
    an unseen speaker in 71 % of utterances instead of 57 %, and the speaker in 85 % instead of 98 %.
    """

    name: ClassVar[str] = "mask-audio"
    equal_shapes: ClassVar[bool] = False
    description = Description(
        paper="Hsu et al. 2021, https://arxiv.org/abs/2106.07447; Chiu et al. 2022 (BEST-RQ); Baevski et al. 2020",
        invalidating_augmentations=("another speed", "cropping, if labels and mask are not cropped with it"),
        notes=_notes,
        self_verifying=lambda task: not task.features,  # else codes need a model, not the stored audio alone
        known_shortcuts=lambda task: {
            "place": "spans of the published length cover the middle of a short utterance more often"
        },
    )
    artefact_copies: ClassVar[Mapping[str, str]] = {"codebook": "*.npz"}

    targets: Annotated[Targets, Option(help="Codes from k-means over MFCC, or a random projection.")] = Targets.kmeans
    clusters: Annotated[
        int | None, Option("--clusters", "-k", min=2, max=100_000, help="Number of k-means clusters. [100]")
    ] = None
    ceiling: Annotated[float | None, Option(min=1000, help=CEILING_HELP)] = None
    preset: Annotated[SpanMaskPreset | None, Option(help=PRESET_HELP)] = None
    codebook: Annotated[str, Option(help=CODEBOOK_HELP)] = ""
    features: Annotated[str, Option(help=FEATURES_HELP)] = ""
    normalise: Annotated[bool, Option("--normalise", help=NORMALISE_HELP)] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rate % 200:
            raise UserError(f"--rate is {self.rate}; give a multiple of 200 (5 ms of whole samples), such as 16000")
        if self.features and self.targets == Targets.best_rq:
            raise UserError("--features is only for --targets kmeans; leave it out, best-rq computes its features")
        if self.normalise and (self.features or self.targets == Targets.best_rq):
            raise UserError("--normalise is only for MFCC; leave it out, or leave out --features and --targets best-rq")
        if self.clusters and (self.codebook or self.targets == Targets.best_rq):
            raise UserError("--clusters is only for learning k-means; leave it out with --codebook or best-rq")
        if self.codebook:
            self.loaded_codebook  # noqa: B018 - raises `UserError` if made with other options
        if self.features:
            self.precomputed  # noqa: B018

    @property
    def book(self) -> str:
        """Return the file name of the codebook."""
        return "centroids.npz" if self.targets == Targets.kmeans else "quantiser.npz"

    @property
    def about(self) -> dict[str, Any]:
        """Return the options that the codebook must have been made with."""
        kmeans = self.targets == Targets.kmeans
        mfcc = "normalised" if self.normalise else not self.features
        kind = {"mfcc": mfcc} if kmeans else {"mel": MEL_BINS, "stack": FRAMES_PER_LABEL}
        return {"rate": self.rate, "ceiling": self.ceiling or 0, **kind}

    @cached_property
    def loaded_codebook(self) -> Centroids | Projection:
        """Return the codebook of `--codebook`."""
        return self.load_codebook(Path(self.codebook))

    def load_codebook(self, path: Path) -> Centroids | Projection:
        """Read a codebook of the kind that the targets need."""
        kind = Centroids if self.targets == Targets.kmeans else Projection
        return codebooks.load_frame_codebook(path, kind, self.about)

    @cached_property
    def precomputed(self) -> FrameFeatures:
        """Return the features of `--features`."""
        return FrameFeatures(self.features)

    def options(self) -> Mapping[str, Any]:
        content = {"codebook_sha256": file_sha256(Path(self.codebook))} if self.codebook else {}
        content |= {"features_sha256": self.precomputed.digest} if self.features else {}
        own = {name: value for name, value in super().options().items() if name not in ("codebook", "features")}
        return {**own, "preset": self.masks, "clusters": self.count, **content}

    @property
    def count(self) -> int | None:
        """Return the number of clusters to learn, or None."""
        return (self.clusters or DEFAULT_CLUSTERS) if self.observed_megabytes else None

    @property
    def observed_megabytes(self) -> int:  # type: ignore[override]
        """Return 32 for MFCC (100 clusters x 2,000 frames), 192 for a model's features (500 x 130 frames), else 0."""
        if self.targets != Targets.kmeans or self.codebook:
            return 0
        return 192 if self.features else 32

    @property
    def masks(self) -> SpanMaskPreset:
        """Return `--preset`, or else the preset of the paper of the targets."""
        if self.preset is not None:
            return self.preset
        return SpanMaskPreset.hubert if self.targets == Targets.kmeans else SpanMaskPreset.best_rq

    @property
    def hz(self) -> float:
        """Return the number of labels per second."""
        return 50.0 if self.targets == Targets.kmeans else 100 / FRAMES_PER_LABEL

    @property
    def twice(self) -> bool:
        """Return whether rows have `labels_100hz` as well."""
        return self.targets == Targets.kmeans and not self.features

    def columns(self) -> Sequence[Column]:
        ten = Column(
            "labels_100hz", "list<int32>", "label", "The code of each 10 ms frame; `labels` has every other one."
        )
        return (
            Column("labels", "list<int32>", "label", f"The code of each frame, {self.hz:g} per second."),
            *([ten] if self.twice else []),
            Column("mask", "list<bool>", "label", "True if the frame is to be masked and its code predicted."),
            Column("label_hz", "float32", "about", "Frames per second of `labels` and `mask`."),
            Column("seconds", "float32", "about", "Duration of the audio in seconds."),
            Column("ceiling", "float32", "about", "Upper limit in Hz of the mel filters, of MFCC or BEST-RQ."),
            Column("audio", f"audio<{self.rate}>", "input", "The whole utterance, mono FLAC; the model masks frames."),
        )

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        return self.observe_features(samples, lambda sample: self.frame_features(sample.payload))

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Learn the centroids, or draw the random projection. Save the codebook for `--codebook` of a later run."""
        about = dict(self.about)
        if self.codebook:
            book = self.loaded_codebook
        elif self.targets == Targets.kmeans:
            points = [*seen] or [np.empty((0, 1), np.float32)]
            if len(widths := {part.shape[1] for part in points}) > 1:
                sizes = " and ".join(map(str, sorted(widths)))
                raise UserError(f"--features have {sizes} numbers per frame; give the features of one model")
            book = codebooks.fit_centroids(
                np.concatenate(points), self.count or DEFAULT_CLUSTERS, int(rng.integers(2**31))
            )
            about["points"] = sum(map(len, points))
        else:
            book = codebooks.random_projection(MEL_BINS * FRAMES_PER_LABEL, CODES, CODE_DIMENSIONS, rng)
        codebooks.save_arrays(artefacts / self.book, book._asdict(), about)

    def labeler(self, artefacts: Path) -> Labeler:
        return PerSampleLabeler(MaskAudioRows(self, self.load_codebook(artefacts / self.book)), self.columns())

    def frame_features(self, sound: Utterance) -> np.ndarray:
        """Return `(n, D)` float32 features: MFCC at 100 Hz, those of `--features` at 50 Hz, or BEST-RQ's at 25 Hz."""
        if self.features:
            return self.precomputed.of(sound.key)
        if self.targets == Targets.kmeans:
            mfcc = audio_features.mfcc(sound.wave, sound.rate, self.highest(sound))
            return mfcc - mfcc.mean(0) if self.normalise and len(mfcc) else mfcc
        mel = audio_features.log_mel(sound.wave, sound.rate, self.highest(sound), MEL_BINS)
        return audio_features.stack_frames((mel - mel.mean(0)) / (mel.std(0) + 1e-5), FRAMES_PER_LABEL)

    def highest(self, sound: Utterance) -> float:
        """Return the mel filters' upper limit in Hz: `--ceiling`, at most half of `--rate` and of the source's rate."""
        return min(audio_features.filter_ceiling(sound.rate, sound.heard), self.ceiling or np.inf)


class MaskAudioRows(NamedTuple):
    """The `RowMaker` of the task `mask-audio`: the task and its codebook."""

    task: MaskAudio
    book: Centroids | Projection

    def rows(self, sound: Utterance, rng: np.random.Generator) -> Iterator[Row]:
        """Yield the row of an utterance."""
        task, seconds = self.task, len(sound.wave) / sound.rate
        stride, window = (
            size * sound.rate // audio_features.RATE for size in (audio_features.CONV_STRIDE, audio_features.WINDOW)
        )
        frames = audio_features.frame_count(len(sound.wave), stride, window)
        if not frames or not len(features := task.frame_features(sound)):
            raise FilteredSample(f"{seconds:.3f} s, too short for one frame")
        if features.shape[1] != self.book.width:
            raise UnusableSample(f"features have {features.shape[1]} numbers per frame, the codebook {self.book.width}")
        codes = self.book.codes(features)
        row: Row = {"label_hz": task.hz, "seconds": seconds, "ceiling": task.highest(sound)}
        if task.features and len(codes) != frames:
            raise UnusableSample(f"features have {len(codes)} frames, the audio has {frames} at 50 Hz")
        if task.twice:
            row["labels_100hz"] = codes.tolist()
            codes = codes[::2]
        mask = span_mask(task.masks, len(codes), task.hz, rng)
        yield {
            **row,
            "labels": codes.tolist(),
            "mask": mask.tolist(),
            "audio": Encoded(sound.wave, sound.encoded) if sound.encoded else sound.wave,
        }

    def check_row(self, row: Row, source: Utterance | None) -> str | None:
        """Compare the codes with the stored audio, and the audio with the source. Return the fault, or None."""
        task, labels, (wave, rate) = self.task, row["labels"], audio_codec.decode_flac(row["audio"])
        if len(row["mask"]) != len(labels):
            return f"`mask` has {len(row['mask'])} frames, `labels` has {len(labels)}"
        if not any(row["mask"]):
            return "`mask` masks no frame"
        if task.twice and row["labels_100hz"][::2] != labels:
            return "`labels` are not every other code of `labels_100hz`"
        if not task.features:
            sound = Utterance(row["key"], wave, rate, heard=2 * row["ceiling"])
            codes = self.book.codes(task.frame_features(sound)).tolist()
            if wrong := np.count_nonzero(np.array(codes) != row["labels_100hz" if task.twice else "labels"]):
                return f"{wrong} of {len(codes)} labels are not the codes of the stored audio"
        if source is not None and not np.array_equal(wave, source.wave):
            return "`audio` differs from the source"
        return None

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the audio with its mask and codes."""
        wave, rate = audio_codec.decode_flac(row["audio"])
        yield Wave("", wave, rate, np.array(row["mask"], bool), np.array(row["labels"]))
