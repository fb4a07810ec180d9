"""Feature sets: samples -> numbers that are clustered. No set needs a download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.readers.audio.reader import Utterance
from pseudolabel.transforms.audio import features as audio_features
from pseudolabel.transforms.clustering.onnx_encoder import load_network
from pseudolabel.transforms.clustering.precomputed import FEATURE_SUFFIXES, Embeddings
from pseudolabel.transforms.image import features as image_features
from pseudolabel.transforms.image import ops
from pseudolabel.transforms.text import features as text_features
from pseudolabel.transforms.text.features import Topics

MAX_FIT_DOCUMENTS = 200_000  # documents for a fit of topics; the block that reaches this number is the last one
CLIP_FRAMES = 4  # frames per clip
FROM_FILE, FROM_ENCODER = "file", "encoder"  # origins of features that are no built-in set
FEATURES_HELP = (
    "hog or pixels (images, video), mfcc (audio), tf-idf (text), or a file of embeddings: .npz or .parquet with `key` "
    "and `features`; or .npy with one row per source file, sorted by key, if each file is one sample."
)
LearnedArrays = Mapping[str, np.ndarray]


class StoredSample(NamedTuple):
    """A sample as stored, from which features are computed: an image, an utterance, a clip or a block of documents."""

    keys: Sequence[str]  # n, one per row
    payload: Any
    encoded: Sequence[bytes] = ()  # the encoded image, or each encoded frame of a clip; `payload` is decoded


class FeatureSet(Protocol):
    """Features in three steps: `raw` for part of the source, `fit` on these raw arrays, `features` for all samples."""

    @property
    def blank(self) -> np.ndarray:
        """Return an example of a raw array of one sample."""

    @property
    def bytes_each(self) -> tuple[int, int]:
        """Return the bytes per sample of the raw array (approximate) and of the features that the fit holds."""

    def raw(self, stored: StoredSample) -> np.ndarray:
        """Return all that the features depend on, as a small array. Workers call it."""

    def fit(self, seen: list[np.ndarray], points: int, rng: np.random.Generator) -> tuple[LearnedArrays, np.ndarray]:
        """Return the arrays fitted to the raw arrays `seen`, and (n, D) features with n about `points`. `seen` may be
        emptied."""

    def features(self, raw: np.ndarray, learned: LearnedArrays) -> np.ndarray:
        """Return (n, D) float32 features; a sample without features has a row of NaN."""


class StatelessFeatures(NamedTuple):
    """Features without a fit: the raw array is the features."""

    raw: Callable[[StoredSample], np.ndarray]  # -> (n, D)
    width: int  # D
    kind: type = np.float32

    @property
    def blank(self) -> np.ndarray:
        return np.zeros((1, self.width), self.kind)

    @property
    def bytes_each(self) -> tuple[int, int]:
        return self.blank.nbytes, 4 * self.width

    def fit(self, seen: list[np.ndarray], points: int, rng: np.random.Generator) -> tuple[LearnedArrays, np.ndarray]:
        return {}, concatenate(seen)

    def features(self, raw: np.ndarray, learned: LearnedArrays) -> np.ndarray:
        return raw.astype(np.float32)


class ClipMeanFeatures(NamedTuple):
    """Features of a clip: the mean over the image features of its frames. All clips have equally many frames."""

    pictures: FeatureSet

    @property
    def blank(self) -> np.ndarray:
        return self.pictures.blank

    @property
    def bytes_each(self) -> tuple[int, int]:
        seen, held = self.pictures.bytes_each
        return CLIP_FRAMES * seen, CLIP_FRAMES * held

    def raw(self, stored: StoredSample) -> np.ndarray:
        return np.concatenate([self.pictures.raw(stored._replace(payload=frame)) for frame in stored.payload.frames])

    def fit(self, seen: list[np.ndarray], points: int, rng: np.random.Generator) -> tuple[LearnedArrays, np.ndarray]:
        clips = len(seen)
        learned, features = self.pictures.fit(seen, points, rng)
        return learned, features.reshape(clips, -1, features.shape[1]).mean(1, dtype=np.float32)

    def features(self, raw: np.ndarray, learned: LearnedArrays) -> np.ndarray:
        return np.asarray(self.pictures.features(raw, learned).mean(0, keepdims=True))


class TermFeatures:
    """Features of documents: the raw array holds terms; the fit learns term weights and topics."""

    blank = np.array([[1, 0], [0, 0]], np.int32)
    bytes_each = 800, 4 * text_features.DIMENSIONS  # about 100 words per document

    def raw(self, stored: StoredSample) -> np.ndarray:
        return text_features.terms(stored.payload)

    def fit(self, seen: list[np.ndarray], points: int, rng: np.random.Generator) -> tuple[LearnedArrays, np.ndarray]:
        documents = np.cumsum([part[0, 0] for part in seen])
        some = seen[: 1 + int(np.searchsorted(documents, MAX_FIT_DOCUMENTS))]
        topics = text_features.fit_topics(some, rng)
        return topics._asdict(), np.concatenate([topics.features(part) for part in some])

    def features(self, raw: np.ndarray, learned: LearnedArrays) -> np.ndarray:
        return Topics(**learned).features(raw)


class PrecomputedFeatures(NamedTuple):
    """Rows of a file, found by key. Raw arrays hold row numbers only, so a large block takes little memory."""

    embeddings: Embeddings

    @property
    def blank(self) -> np.ndarray:
        return np.full((1, 1), -1)

    @property
    def bytes_each(self) -> tuple[int, int]:
        return self.blank.nbytes, 4 * self.embeddings.width

    def raw(self, stored: StoredSample) -> np.ndarray:
        return self.embeddings.at(stored.keys)[:, None]

    def fit(self, seen: list[np.ndarray], points: int, rng: np.random.Generator) -> tuple[LearnedArrays, np.ndarray]:
        rows = concatenate(seen)[:, 0]
        rows = rows[rows >= 0]
        return {}, self.embeddings.rows(np.sort(rng.permutation(rows)[:points]))

    def features(self, raw: np.ndarray, learned: LearnedArrays) -> np.ndarray:
        return self.embeddings.rows(raw[:, 0])


def concatenate(parts: list[np.ndarray]) -> np.ndarray:
    """Concatenate the parts and empty the list, so that memory never holds all parts and the whole."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    at = len(whole)
    while parts:
        part = parts.pop()
        whole[at - len(part) : at] = part
        at -= len(part)
    return whole


def hog(stored: StoredSample) -> np.ndarray:
    """Return (1, 996): histograms of oriented gradients, and colour statistics by region."""
    return np.hstack([image_features.hog(stored.payload), image_features.color_statistics(stored.payload)])[None]


def pixels(stored: StoredSample) -> np.ndarray:
    """Return (1, 768): 16 x 16 RGB pixels. PCA later keeps the directions of largest variance."""
    return ops.resize(stored.payload, 16, 16).reshape(1, -1)


def mfcc(stored: StoredSample) -> np.ndarray:
    """Return (1, 143): statistics of 13 MFCC and their deltas; NaN if the utterance is shorter than a frame."""
    sound: Utterance = stored.payload
    frames = audio_features.mfcc(sound.wave, sound.rate, audio_features.filter_ceiling(sound.rate, sound.heard))
    if not len(frames):
        return np.full((1, audio_features.STATISTICS), np.nan, np.float32)
    return audio_features.statistics(frames)[None]


FEATURE_SETS: dict[str, FeatureSet] = {
    "hog": StatelessFeatures(hog, 996),
    "pixels": StatelessFeatures(pixels, 768, np.uint8),
    "mfcc": StatelessFeatures(mfcc, audio_features.STATISTICS),
    "tf-idf": TermFeatures(),
}


def encoder_features(path: Path, width: int) -> FeatureSet:
    """Return the features of the user's network: `width` numbers per image or utterance."""

    def one(stored: StoredSample) -> np.ndarray:
        if isinstance(stored.payload, Utterance):
            return load_network(path).sound(stored.payload.wave)[None]
        return load_network(path).picture(stored.payload)[None]

    return StatelessFeatures(one, width)


def origin(features: str, sets: Sequence[str], modality: str) -> str:
    """Return the origin of features: `FROM_FILE` or a set's name. Raise `UserError` if the modality has no such set."""
    if Path(features).suffix in FEATURE_SUFFIXES:
        return FROM_FILE
    if features not in sets:
        known, ends = ", ".join(sets), ", ".join(FEATURE_SUFFIXES)
        raise UserError(f"features {features!r} are not for {modality}; give {known}, or a file ending in {ends}")
    return features
