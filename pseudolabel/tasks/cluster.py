"""Clusters as labels: Caron et al. 2018 (DeepCluster), Yan et al. 2020 (ClusterFit), Asano et al. 2020 (SeLa)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
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
)
from pseudolabel.readers.audio.reader import AudioOptions
from pseudolabel.readers.image.reader import ImageOptions
from pseudolabel.readers.text.reader import TextOptions
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import VideoOptions
from pseudolabel.storage.files import file_sha256
from pseudolabel.tasks.base.modalities import (
    MODALITIES,
    Modality,
    ModalitySpec,
    check_own_options,
    file_keys,
    find_modality,
)
from pseudolabel.tasks.base.task import (
    IMAGE_FACTS,
    Description,
    Labeler,
    PerSampleLabeler,
    Reader,
    Row,
    Rows,
    Task,
    default_display,
)
from pseudolabel.transforms.clustering import clusters, codebooks, feature_sets, onnx_encoder, precomputed
from pseudolabel.transforms.clustering.clusters import MAX_CLUSTERS, MIN_POINTS_PER_CLUSTER, Assignment
from pseudolabel.transforms.clustering.feature_sets import CLIP_FRAMES, FROM_ENCODER, FROM_FILE, FeatureSet

CODEBOOK_FILE = "centroids.npz"
MAX_FEATURE_MEGABYTES = 160  # MB of features to learn from; k-means needs 160 MB more, and 200 MB to initialise
ENCODER_FILE = "encoder.onnx"
CLUSTERS_HELP = "Number of clusters. [a 39th of the samples learned from, 2 to 1000]"
ENCODER_HELP = "Cluster the outputs of this .onnx network (images, video, audio). Needs pip install pseudolabel[onnx]."
SIZE_HELP = "Short side in pixels: the maximum for images, exact for video."
CODEBOOK_HELP = "Reuse the clusters of an earlier dataset: its centroids.npz. Nothing is learned."


class ClusterRows(NamedTuple):
    """The `RowMaker` of the task `cluster`: the task and its codebook."""

    task: Cluster
    book: codebooks.Codebook

    def each(self, samples: Iterator[Sample]) -> Iterator[Sample]:
        """Yield one sample per key. Payload: its row, None (no features) or the error."""
        task = self.task
        for sample in samples:
            stored = task.kind.store(sample, task.size)
            del sample  # an image may be large
            try:
                features = task.feature_set.features(task.feature_set.raw(stored), self.book.learned)
            except SampleError as bad:
                yield from (Sample(key, bad) for key in stored.keys)
                continue
            located = zip(*(column.tolist() for column in self.book.clusters.assign(features)), strict=True)
            empty = np.isnan(features).any(1).tolist()
            rows = task.kind.rows(stored, not task.no_inputs)
            for key, row, where, nothing in zip(stored.keys, rows, located, empty, strict=True):
                yield Sample(key, None if nothing else {**Assignment(*where)._asdict(), **row})

    def rows(self, row: Row | SampleError | None, rng: np.random.Generator) -> Iterator[Row]:
        """Yield the row. Raise `SampleError` if the sample has no features. `rng` is not used."""
        if isinstance(row, SampleError):
            raise row
        if row is None and self.task.origin == FROM_FILE:
            raise UnusableSample(f"no features for this sample in {Path(self.task.features).name}")
        if row is None:
            raise FilteredSample("no features: the document has no word, or the audio is too short")
        yield row

    def check_row(self, row: Row, source: Row | None) -> str | None:
        """Recompute the assignment from the stored input. If that is impossible, check only that the cluster exists."""
        task, (centroids, learned) = self.task, (self.book.clusters, self.book.learned)
        if not task.description.self_verifying(task):
            known = 0 <= row["cluster"] < len(centroids.sizes)
            return None if known else f"`cluster` is {row['cluster']}, not one of 0 to {len(centroids.sizes) - 1}"
        features = task.feature_set.features(task.feature_set.raw(task.kind.restore(row)), learned)
        return centroids.fault(features, *(row[name] for name in Assignment._fields))

    def draw(self, row: Row) -> Iterable[Piece]:
        """Yield the stored input and its cluster."""
        return default_display(self.task.columns(), row)


class ClusterLabeler(PerSampleLabeler):
    """The labeler of the task `cluster`. It assigns a block of documents in one call."""

    task: ClusterRows

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        return super().label(self.task.each(samples), chance, copies)


def _notes(task: Cluster, artefacts: Path) -> Sequence[str]:
    """Return how the clusters were learned, and whether from too few samples."""
    sizes = codebooks.load_codebook(artefacts / CODEBOOK_FILE).clusters.sizes
    return [*clusters.size_notes(sizes, task.origin, chosen=task.clusters is not None), *task.kind.notes]


@dataclass(frozen=True)
class Cluster(ImageOptions, AudioOptions, TextOptions, VideoOptions, Task):
    """Find clusters among images, utterances, documents or clips; the label is the cluster of the sample.

    `cluster` is the nearest of k centroids to the whitened features of exactly the stored input; `--balanced` adds a
    constant per cluster to squared distances. `distance` is the distance to this centroid, from 0 to about 2. `margin`
    is how much farther the second-best centroid is; with `--balanced`, it can be negative. Features are `hog` (996
    numbers) or `pixels` (768) for images, their mean over the frames for clips, `mfcc` (143) for utterances, `tf-idf`
    (128) for documents, or given embeddings.

    To measure how well clusters agree with folders, make the dataset with `--keep folder` and, in rows with `copy` 0,
    compare the two columns: scikit-learn's `normalized_mutual_info_score(rows["folder"], rows["cluster"])`.
    """

    name: ClassVar[str] = "cluster"
    description = Description(
        paper="Caron et al. 2018 (DeepCluster), https://arxiv.org/abs/1807.05520; Yan et al. 2020 (ClusterFit); "
        "Asano et al. 2020 (SeLa)",
        notes=_notes,
        known_shortcuts=lambda task: dict.fromkeys(
            (*IMAGE_FACTS, "image size", "loudness", "spectrum"), "clusters depend on the content of the input"
        ),
        self_verifying=lambda task: task.origin != FROM_FILE and not task.no_inputs,  # features can be recomputed
    )
    equal_shapes: ClassVar[bool] = False
    artefact_copies: ClassVar[Mapping[str, str]] = {"codebook": CODEBOOK_FILE, "encoder": ENCODER_FILE}

    clusters: Annotated[int | None, Option("--clusters", "-k", min=2, max=100_000, help=CLUSTERS_HELP)] = None
    features: Annotated[str, Option(help=feature_sets.FEATURES_HELP)] = ""
    encoder: Annotated[str, Option(help=ENCODER_HELP)] = ""
    codebook: Annotated[str, Option(help=CODEBOOK_HELP)] = ""
    balanced: Annotated[bool, Option("--balanced", help="Make clusters of about equal size.")] = False
    spherical: Annotated[bool, Option("--spherical", help="Spherical k-means: centroids of length 1.")] = False
    modality: Annotated[Modality | None, Option(help="Modality to read if the source has several.")] = None
    size: Annotated[int, Option(min=8, max=8192, help=SIZE_HELP)] = 256
    no_inputs: Annotated[bool, Option("--no-inputs", help="Store only the labels.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.encoder and self.features:
            raise UserError("--features and --encoder are two sources of features; give one of them")
        if self.codebook and (self.clusters or self.balanced or self.spherical):
            raise UserError("--codebook learns no clusters; leave out --clusters, --balanced and --spherical")

    @property
    def kind(self) -> ModalitySpec:
        """Return the entry of `MODALITIES` for the modality, or for images until the modality is known."""
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
                raise UserError(f"--encoder is not for {modality}; compute embeddings and give --features FILE")
            task.encoder_width  # noqa: B018 - raises `UserError` for an unsuitable network
        if task.codebook:
            task.book.check(task.codebook, task.about, task.origin, task.feature_set)
        return task

    @property
    def origin(self) -> str:
        """Return where features come from: the name of a set, `FROM_FILE` or `FROM_ENCODER`."""
        if self.encoder:
            return FROM_ENCODER
        default = self.book.about.get("features") if self.codebook else self.kind.sets[0]
        return feature_sets.origin(self.features or str(default), self.kind.sets, str(self.modality))

    @cached_property
    def embeddings(self) -> precomputed.Embeddings:
        """Return the embeddings of `--features`. `resolve` sets them, because it knows the keys of the source."""
        raise AttributeError("embeddings")

    @cached_property
    def encoder_width(self) -> int:
        """Return how many numbers the network of `--encoder` outputs per sample."""
        wave = round(self.seconds * self.rate) if self.modality == Modality.audio else None
        return onnx_encoder.output_width(Path(self.encoder), wave)

    @property
    def feature_set(self) -> FeatureSet:
        """Return the feature set that turns samples into numbers."""
        if self.origin == FROM_FILE:
            return feature_sets.PrecomputedFeatures(self.embeddings)
        if self.origin == FROM_ENCODER:
            one = feature_sets.encoder_features(Path(self.encoder), self.encoder_width)
        else:
            one = feature_sets.FEATURE_SETS[self.origin]
        return feature_sets.ClipMeanFeatures(one) if self.kind.averages else one

    @property
    def sampling(self) -> Sampling:
        """Return which frames a clip has: four, half a second apart by default."""
        return self.space_clips(Sampling(tuple(range(CLIP_FRAMES)), CLIP_FRAMES, gap=0.5, seconds=True))

    @property
    def about(self) -> dict[str, Any]:
        """Return the options that the codebook must have been made with."""
        depends = {name: getattr(self, name) for name in self.kind.depends}
        return {"modality": str(self.modality), "features": self.origin, **depends, **self.encoder_sha256}

    @property
    def encoder_sha256(self) -> dict[str, str]:
        """Return the checksum of the network of `--encoder` under this name, {} without one."""
        return {"encoder_sha256": onnx_encoder.load_network(Path(self.encoder)).digest} if self.encoder else {}

    @cached_property
    def book(self) -> codebooks.Codebook:
        """Return the codebook of `--codebook`."""
        return codebooks.load_codebook(Path(self.codebook))

    def options(self) -> Mapping[str, Any]:
        """Return the options that the modality uses, with checksums of files instead of their names."""
        readers = {field.name for kind in MODALITIES.values() for field in fields(kind.options)}
        own = {field.name for field in fields(self.kind.options)} | set(self.kind.depends)
        others = (readers | {"size", "encoder", "codebook"}) - own
        kept = {name: value for name, value in asdict(self).items() if name not in others}
        files = {"codebook": self.codebook, "features": self.features if self.origin == FROM_FILE else ""}
        content = {f"{name}_sha256": file_sha256(Path(file)) for name, file in files.items() if file}
        return {**kept, "features": self.origin, **content, **self.encoder_sha256}

    @property
    def points(self) -> int:
        """Return how many samples to learn from: 39 * max(--clusters, 1000), but at most 160 MB of features."""
        wanted = MIN_POINTS_PER_CLUSTER * max(self.clusters or 0, MAX_CLUSTERS)
        return min(wanted, MAX_FEATURE_MEGABYTES * MEGABYTE // self.feature_set.bytes_each[1])

    @property
    def observed_megabytes(self) -> int:  # type: ignore[override]
        """Return the MB of raw features of `points` samples; 0 with `--codebook`."""
        return 0 if self.codebook else -(-self.points * self.feature_set.bytes_each[0] // MEGABYTE)

    def reader(self) -> Reader:
        return self.kind.reader(self)

    def columns(self) -> Sequence[Column]:
        shown = self.kind.columns(self)
        return (
            Column("cluster", "int64", "label", "Number of the sample's cluster, from 0."),
            Column("distance", "float32", "about", "Distance from the sample's features to the centroid."),
            Column("margin", "float32", "about", "How much farther the second nearest centroid is."),
            *(column for column in shown if column.role != "input" or not self.no_inputs),
        )

    def raw(self, sample: Sample) -> np.ndarray:
        """Return the raw features of a sample, computed from the stored input."""
        return self.feature_set.raw(self.kind.store(sample, self.size))

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        return self.observe_features(samples, self.raw)

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Fit the feature set, then the clusters. Save the codebook, and the network of `--encoder`."""
        if self.encoder:
            onnx_encoder.copy_network(Path(self.encoder), artefacts / ENCODER_FILE)
        if self.codebook:
            self.book.save(artefacts / CODEBOOK_FILE)
            return
        raw = [part for part in seen if len(part)]
        if not raw:
            why = "each is unusable, or left out by an option such as --min-seconds"
            raise UserError(f"no sample is left to learn clusters from: {why}; give other sources or options", 3)
        learned, features = self.feature_set.fit(raw, self.points, rng)
        if (undefined := np.isnan(features).any(1)).any():
            features = features[~undefined]
        found = clusters.fit_clusters(features, self.clusters, int(rng.integers(2**31)), self.spherical, self.balanced)
        codebooks.Codebook(found, learned, self.about).save(artefacts / CODEBOOK_FILE)

    def labeler(self, artefacts: Path) -> Labeler:
        return ClusterLabeler(ClusterRows(self, codebooks.load_codebook(artefacts / CODEBOOK_FILE)), self.columns())
