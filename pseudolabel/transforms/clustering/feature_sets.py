"""Feature sets: what numbers say of samples, for clusters to be found in. None needs a download."""

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
from pseudolabel.transforms.text import features as text_features
from pseudolabel.transforms.text.features import Topics

MAX_FIT_DOCUMENTS = 200_000  # that topics are learned from, or a few more: of short ones there are many to a megabyte
CLIP_FRAMES = 4  # of a clip
FROM_FILE, FROM_ENCODER = "file", "encoder"  # what features are called that are no set of ours
FEATURES_HELP = (
    "hog, pixels; mfcc; tf-idf; or embeddings: a .npz or .parquet of key and features, or, where each file "
    "is a sample, a .npy with a row for each in the order of keys."
)
LearnedArrays = Mapping[str, np.ndarray]


class StoredSample(NamedTuple):
    """A sample as it is stored, which is what features are of: a picture, sound or clip, or a block of documents."""

    keys: Sequence[str]  # n, of the rows
    payload: Any
    encoded: Sequence[bytes] = ()  # of a picture, or each frame of a clip: decoded, they are the payload


class FeatureSet(Protocol):
    """Three steps, for what is learned of a sample of the source is not known while that is taken."""

    @property
    def blank(self) -> np.ndarray:
        """What `raw` might give of one sample."""

    @property
    def bytes_each(self) -> tuple[int, int]:
        """Of a sample: in what `raw` gives, about, and in the features that are held to learn from."""

    def raw(self, stored: StoredSample) -> np.ndarray:
        """All that features depend on, small; runs in the workers."""

    def fit(self, seen: list[np.ndarray], points: int, rng: np.random.Generator) -> tuple[LearnedArrays, np.ndarray]:
        """What `raw` gave of several, which is used up -> what is learned of it, and (n, D) features, of `points` or
        about as many."""

    def features(self, raw: np.ndarray, learned: LearnedArrays) -> np.ndarray:
        """(n, D) float32; a row of NaN where there is nothing to tell by."""


class StatelessFeatures(NamedTuple):
    """Nothing is learned: what is seen of a sample is its features."""

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
    """Features of a clip: the mean of what those of pictures are of its frames, of which each clip has as many."""

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
    """The terms of documents are seen, their weights and topics are learned."""

    blank = np.array([[1, 0], [0, 0]], np.int32)
    bytes_each = 800, 4 * text_features.DIMENSIONS  # of a hundred words

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
    """Rows of a file, by key: seen are their numbers alone, so that a block of documents does not fill the sample."""

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
    """The parts as one, which are used up: both are never there."""
    whole = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    at = len(whole)
    while parts:
        part = parts.pop()
        whole[at - len(part) : at] = part
        at -= len(part)
    return whole


def hog(stored: StoredSample) -> np.ndarray:
    """(1, 996): oriented gradients, and colours by place."""
    return np.hstack([image_features.hog(stored.payload), image_features.color_statistics(stored.payload)])[None]


def pixels(stored: StoredSample) -> np.ndarray:
    """(1, 768): 16 x 16 pixels, of which PCA keeps what varies most."""
    return image_features.thumbnail(stored.payload, 16)[None]


def mfcc(stored: StoredSample) -> np.ndarray:
    """(1, 143): statistics of 13 MFCC and their deltas; NaN of what is too short for a frame."""
    sound: Utterance = stored.payload
    frames = audio_features.mfcc(sound.wave, sound.rate, audio_features.filter_ceiling(sound.rate, sound.heard))
    return (
        audio_features.statistics(frames)[None]
        if len(frames)
        else np.full((1, audio_features.STATISTICS), np.nan, np.float32)
    )


FEATURE_SETS: dict[str, FeatureSet] = {
    "hog": StatelessFeatures(hog, 996),
    "pixels": StatelessFeatures(pixels, 768, np.uint8),
    "mfcc": StatelessFeatures(mfcc, audio_features.STATISTICS),
    "tf-idf": TermFeatures(),
}


def encoder_features(path: Path, width: int) -> FeatureSet:
    """What the user's own network makes of a picture or a sound: so many numbers."""

    def one(stored: StoredSample) -> np.ndarray:
        if isinstance(stored.payload, Utterance):
            return load_network(path).sound(stored.payload.wave)[None]
        return load_network(path).picture(stored.payload)[None]

    return StatelessFeatures(one, width)


def origin(features: str, sets: Sequence[str], modality: str) -> str:
    """Return where features come from: FILE, or the name of a set.

    Raise `UserError` if it is none of the modality's.
    """
    if Path(features).suffix in FEATURE_SUFFIXES:
        return FROM_FILE
    if features not in sets:
        known, ends = ", ".join(sets), ", ".join(FEATURE_SUFFIXES)
        raise UserError(f"features {features!r} are none of {modality}; give {known}, or a file ending in {ends}")
    return features
