"""Clusters as labels: Caron et al. 2018 (DeepCluster), Yan et al. 2020 (ClusterFit), Asano et al. 2020 (SeLa)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import (
    MEGABYTE,
    Chance,
    Column,
    FilteredSample,
    Piece,
    Sample,
    SampleError,
    Skipped,
    UnusableSample,
    UserError,
    or_skipped,
)
from pseudolabel.readers.audio.reader import AudioOptions
from pseudolabel.readers.image.reader import ImageOptions
from pseudolabel.readers.text.reader import TextOptions
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import VideoOptions
from pseudolabel.storage.files import file_sha256
from pseudolabel.tasks.base.modalities import MODALITIES, Kind, Modality, check_own_options, file_keys, find_modality
from pseudolabel.tasks.base.task import Description, Labeler, PerSampleLabeler, Reader, Row, Rows, Task, default_display
from pseudolabel.transforms.clustering import clusters, codebooks, feature_sets, onnx_encoder, precomputed
from pseudolabel.transforms.clustering.clusters import MAX_CLUSTERS, MIN_POINTS_PER_CLUSTER, Assignment
from pseudolabel.transforms.clustering.feature_sets import CLIP_FRAMES, FROM_ENCODER, FROM_FILE, FeatureSet

CODEBOOK_FILE = "centroids.npz"
MAX_FEATURE_MEGABYTES = (
    160  # MB of features that are held to learn from; k-means takes as much again, and 200 MB for its beginning
)
ENCODER_FILE = "encoder.onnx"
CLUSTERS_HELP = "Clusters to find. [one for each 39 samples learned from, 2 to 1000]"
ENCODER_HELP = "Cluster what this .onnx network makes of pictures or sound. Needs pseudolabel[onnx]."
SIZE_HELP = "Pixels of the short side: of pictures at most, of films always."
CODEBOOK_HELP = "Label with the centroids.npz of a dataset made before, and learn nothing."


class ClusterRows(NamedTuple):
    """The task and its codebook."""

    task: Cluster
    book: codebooks.Codebook

    def each(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        """Each picture, sound, clip or document by itself, with its row; those of a block are located together."""
        task = self.task
        for sample in samples:
            stored = task.kind.stored(sample, task.size)
            del sample  # a picture may be large
            try:
                features = task.feature_set.features(task.feature_set.raw(stored), self.book.learned)
            except SampleError as bad:
                yield from (Sample(key, bad) for key in stored.keys)
                continue
            located = zip(*(column.tolist() for column in self.book.clusters.assign(features)), strict=True)
            empty = np.isnan(features).any(1).tolist()
            rows = task.kind.rows(stored, not task.no_inputs)
            for key, row, where, nothing in zip(stored.keys, rows, located, empty, strict=True):
                label = dict(zip(Assignment._fields, where, strict=True))
                yield Sample(key, None if nothing else {**label, **row})

    def rows(self, row: Row | SampleError | None, rng: np.random.Generator) -> Iterator[Row]:
        """The row, if there was anything to tell by; chance has no part in it."""
        if isinstance(row, SampleError):
            raise row
        if row is None and self.task.origin == FROM_FILE:
            raise UnusableSample(f"no features for it in {Path(self.task.features).name}")
        if row is None:
            raise FilteredSample("nothing in it to tell it from others by: no word, or too short")
        yield row

    def check_row(self, row: Row, source: Row | None) -> str | None:
        """Is what is stored where the row says? Without it, is there such a cluster?"""
        task, (centroids, learned) = self.task, (self.book.clusters, self.book.learned)
        if not task.description.self_verifying(task):
            known = 0 <= row["cluster"] < len(centroids.sizes)
            return None if known else f"`cluster` is {row['cluster']}, none of 0 to {len(centroids.sizes) - 1}"
        features = task.feature_set.features(task.feature_set.raw(task.kind.restored(row)), learned)
        return centroids.fault(features, *(row[name] for name in Assignment._fields))

    def draw(self, row: Row) -> Iterable[Piece]:
        """What is stored, and its cluster."""
        return default_display(self.task.columns(), row)


class ClusterLabeler(PerSampleLabeler):
    """The labeler."""

    task: ClusterRows

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        return super().label(self.task.each(samples), chance, copies)


def _notes(task: Cluster, artefacts: Path) -> Sequence[str]:
    """How the clusters were learned, and whether from too little."""
    sizes = codebooks.load_codebook(artefacts / CODEBOOK_FILE).clusters.sizes
    return clusters.size_notes(sizes, task.origin, chosen=task.clusters is not None)


def _chance_level(task: Cluster, artefacts: Path) -> str:
    return clusters.largest_share(codebooks.load_codebook(artefacts / CODEBOOK_FILE).clusters.sizes)


def _self_verifying(task: Cluster) -> bool:
    return task.origin != FROM_FILE and not task.no_inputs  # labels are of what is stored; a file's features are not


@dataclass(frozen=True)
class Cluster(ImageOptions, AudioOptions, TextOptions, VideoOptions, Task):
    """Find clusters among pictures, sounds, documents or clips of films; the label is the cluster a sample is in.

    `cluster` is the nearest of k centroids to the features of exactly what is stored, whitened; `distance` is how far
    it is, from 0 to about 2, `margin` how much farther the second one is. Features: `hog` (996 numbers) or
    `pixels` (768) of pictures, and of clips the mean of their frames'; `mfcc` (143) of sounds, `tf-idf` (128)
    of documents; or any of a model.

    How well clusters agree with folders: make the dataset with `--keep folder`, and compare the two columns by
    scikit-learn's `normalized_mutual_info_score(rows["folder"], rows["cluster"])`, copy 0 alone.
    """

    name: ClassVar[str] = "cluster"
    description = Description(
        paper="Caron et al. 2018 (DeepCluster), https://arxiv.org/abs/1807.05520; Yan et al. 2020 (ClusterFit); "
        "Asano et al. 2020 (SeLa)",
        chance_level=_chance_level,
        notes=_notes,
        self_verifying=_self_verifying,
    )
    artefact_copies: ClassVar[Mapping[str, str]] = {"codebook": CODEBOOK_FILE, "encoder": ENCODER_FILE}

    clusters: Annotated[int | None, Option("--clusters", "-k", min=2, max=100_000, help=CLUSTERS_HELP)] = None
    features: Annotated[str, Option(help=feature_sets.FEATURES_HELP)] = ""
    encoder: Annotated[str, Option(help=ENCODER_HELP)] = ""
    codebook: Annotated[str, Option(help=CODEBOOK_HELP)] = ""
    balanced: Annotated[bool, Option("--balanced", help="Make clusters of equal size.")] = False
    spherical: Annotated[bool, Option("--spherical", help="Keep centroids at length 1: k-means by angles.")] = False
    modality: Annotated[Modality | None, Option(help="What to read of a source of several kinds.")] = None
    size: Annotated[int, Option(min=8, max=8192, help=SIZE_HELP)] = 256
    no_inputs: Annotated[bool, Option("--no-inputs", help="Store the labels alone.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder and self.features:
            raise UserError("--features and --encoder are two sources of features; give one of them")
        if self.codebook and (self.clusters or self.balanced or self.spherical):
            raise UserError("--clusters, --balanced and --spherical are for learning; with --codebook leave them out")

    # --- which modality, which features ---

    @property
    def kind(self) -> Kind:
        """What is different for the modality; until the source is known, pictures."""
        return MODALITIES[self.modality or Modality.images]

    def resolve(self, sources: Sequence[Path]) -> Task:
        modality = self.modality or find_modality(self, sources)
        check_own_options(self, modality)
        task = replace(self, modality=modality)
        if task.origin == FROM_FILE:
            rows = file_keys(task, modality, sources) if task.kind.is_file else None
            object.__setattr__(task, "embeddings", precomputed.match_embeddings(Path(self.features), rows))
        if task.origin == FROM_ENCODER:
            if not task.kind.encodes:
                raise UserError(f"--encoder is not for {modality}; give what it makes of them, with --features FILE")
            task.encoder_width  # noqa: B018 - refused where it takes something else
        if task.codebook:
            task.book.check(task.codebook, task.about, task.origin, task.feature_set)
        return task

    @property
    def origin(self) -> str:
        """Where features come from: the name of a set, or FILE, or ENCODER."""
        if self.encoder:
            return FROM_ENCODER
        usual = self.book.about.get("features") if self.codebook else self.kind.sets[0]
        return feature_sets.origin(self.features or str(usual), self.kind.sets, str(self.modality))

    @cached_property
    def embeddings(self) -> precomputed.Embeddings:
        """The embeddings of `--features`; `resolve`, which knows the source's keys, puts them here."""
        raise AttributeError("embeddings")

    @cached_property
    def encoder_width(self) -> int:
        """How many numbers the network of `--encoder` makes of a sample."""
        wave = round(self.seconds * self.rate) if self.modality == Modality.sound else None
        return onnx_encoder.output_width(Path(self.encoder), wave)

    @property
    def feature_set(self) -> FeatureSet:
        """What numbers say of samples."""
        if self.origin == FROM_FILE:
            return feature_sets.PrecomputedFeatures(self.embeddings)
        own = self.origin == FROM_ENCODER
        one = (
            feature_sets.encoder_features(Path(self.encoder), self.encoder_width)
            if own
            else feature_sets.FEATURE_SETS[self.origin]
        )
        return feature_sets.ClipMeanFeatures(one) if self.kind.averages else one

    @property
    def sampling(self) -> Sampling:
        """Which frames a clip has: four, half a second apart."""
        return self.space_clips(Sampling(tuple(range(CLIP_FRAMES)), CLIP_FRAMES, gap=0.5, seconds=True))

    @property
    def about(self) -> dict[str, Any]:
        """What a codebook must be for."""
        about = {"modality": str(self.modality), "features": self.origin}
        about |= {name: getattr(self, name) for name in self.kind.depends}
        return about | (
            {"encoder_sha256": onnx_encoder.load_network(Path(self.encoder)).digest} if self.encoder else {}
        )

    @cached_property
    def book(self) -> codebooks.Codebook:
        """The codebook that was given."""
        return codebooks.load_codebook(Path(self.codebook))

    def options(self) -> Mapping[str, Any]:
        """Those of the modality, and the content of the files instead of their names."""
        others = {field.name for kind in MODALITIES.values() for field in fields(kind.options)} | {"size"}
        own = {field.name for field in fields(self.kind.options)} | set(self.kind.depends)
        left = (others - own) | {"encoder", "codebook"}
        kept = {name: value for name, value in asdict(self).items() if name not in left}
        files = {"codebook": self.codebook, "features": self.features if self.origin == FROM_FILE else ""}
        content = {f"{name}_sha256": file_sha256(Path(file)) for name, file in files.items() if file}
        content |= {"encoder_sha256": onnx_encoder.load_network(Path(self.encoder)).digest} if self.encoder else {}
        return {**kept, "features": self.origin, **content}

    # --- the task ---

    @property
    def points(self) -> int:
        """Samples to learn from, at most: 39 to a cluster, of 1000 at least, as far as their features have room."""
        return min(
            MIN_POINTS_PER_CLUSTER * max(self.clusters or 0, MAX_CLUSTERS),
            MAX_FEATURE_MEGABYTES * MEGABYTE // self.feature_set.bytes_each[1],
        )

    @property
    def observed_megabytes(self) -> int:  # type: ignore[override]
        """What is seen of so many samples."""
        return 0 if self.codebook else -(-self.points * self.feature_set.bytes_each[0] // MEGABYTE)

    def reader(self) -> Reader:
        return self.kind.reader(self)

    def columns(self) -> Sequence[Column]:
        shown = self.kind.columns(self)
        return (
            Column("cluster", "int64", "label", "The number of the cluster that the sample is in, from 0."),
            Column("distance", "float32", "about", "How far its features are from the cluster's centroid."),
            Column("margin", "float32", "about", "How much farther they are from the second centroid."),
            *(column for column in shown if column.role != "input" or not self.no_inputs),
        )

    def raw(self, sample: Sample) -> np.ndarray:
        """What features are made from, of what is stored of a sample."""
        return self.feature_set.raw(self.kind.stored(sample, self.size))

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        """Of a part of the source, a sixteenth of what `fit` takes at most: not of one file alone."""
        room = self.observed_megabytes * MEGABYTE // 16
        for sample in samples:
            raw = or_skipped(sample.key, partial(self.raw, sample))
            if isinstance(raw, Skipped):  # said when it is labelled
                continue
            yield raw
            room -= raw.nbytes
            if room <= 0:
                return

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Learn what the features need, then the clusters; keep all that labels."""
        if self.encoder:
            onnx_encoder.copy_network(Path(self.encoder), artefacts / ENCODER_FILE)
        if self.codebook:
            self.book.save(artefacts / CODEBOOK_FILE)
            return
        raw = [part for part in seen if len(part)]
        if not raw:
            raise UserError("there is nothing to learn clusters from: no sample could be read", 3)
        learned, features = self.feature_set.fit(raw, self.points, rng)
        if (lacking := np.isnan(features).any(1)).any():
            features = features[~lacking]
        found = clusters.fit_clusters(features, self.clusters, int(rng.integers(2**31)), self.spherical, self.balanced)
        codebooks.Codebook(found, learned, self.about).save(artefacts / CODEBOOK_FILE)

    def labeler(self, artefacts: Path) -> Labeler:
        return ClusterLabeler(ClusterRows(self, codebooks.load_codebook(artefacts / CODEBOOK_FILE)))
