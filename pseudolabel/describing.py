"""Feature sets: what numbers say of samples, for clusters to be found in. None needs a download."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pseudolabel import descriptors, dictionaries, terms, waves
from pseudolabel.dictionaries import Dictionary
from pseudolabel.embeddings import Embeddings
from pseudolabel.networks import network
from pseudolabel.readers.audio import Utterance
from pseudolabel.terms import Topics

DOCUMENTS = 200_000  # that topics are learned from, or a few more: of short ones there are many to a megabyte

FILE, ENCODER = "file", "encoder"  # what features are called that are no set of ours

Learned = Mapping[str, np.ndarray]


class Stored(NamedTuple):
    """A sample as it is stored, which is what features are of: a picture, sound or clip, or a block of documents."""

    keys: Sequence[str]  # n, of the rows
    payload: Any
    encoded: Sequence[bytes] = ()  # of a picture, or each frame of a clip: decoded, they are the payload


class FeatureSet(Protocol):
    """Three steps, for what is learned of a sample of the source is not known while that is taken."""

    def raw(self, stored: Stored) -> np.ndarray:
        """All that features depend on, small; runs in the workers."""

    def fitted(self, seen: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Learned, np.ndarray]:
        """What `raw` gave of several -> what is learned of it, and the (n, D) features."""

    def features(self, raw: np.ndarray, learned: Learned) -> np.ndarray:
        """(n, D) float32; a row of NaN where there is nothing to tell by."""


class Plain(NamedTuple):
    """Nothing is learned: what is seen of a sample is its features."""

    raw: Callable[[Stored], np.ndarray]  # -> (n, D)

    def fitted(self, seen: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Learned, np.ndarray]:
        return {}, np.concatenate(seen)

    def features(self, raw: np.ndarray, learned: Learned) -> np.ndarray:
        return raw.astype(np.float32)


class Patches:
    """Thumbnails are seen, a dictionary of their patches is learned."""

    def raw(self, stored: Stored) -> np.ndarray:
        return descriptors.thumbnail(stored.payload, dictionaries.THUMBNAIL)[None]

    def fitted(self, seen: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Learned, np.ndarray]:
        dictionary = dictionaries.learned(np.concatenate(seen), rng)
        return dictionary._asdict(), dictionary.features(np.concatenate(seen))

    def features(self, raw: np.ndarray, learned: Learned) -> np.ndarray:
        return Dictionary(**learned).features(raw)


class Averaged(NamedTuple):
    """Features of a clip: the mean of what those of pictures are of its frames, of which each clip has as many."""

    pictures: FeatureSet

    def raw(self, stored: Stored) -> np.ndarray:
        return np.concatenate([self.pictures.raw(stored._replace(payload=frame)) for frame in stored.payload.frames])

    def fitted(self, seen: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Learned, np.ndarray]:
        learned, features = self.pictures.fitted(seen, rng)
        return learned, features.reshape(len(seen), -1, features.shape[1]).mean(1, dtype=np.float32)

    def features(self, raw: np.ndarray, learned: Learned) -> np.ndarray:
        return np.asarray(self.pictures.features(raw, learned).mean(0, keepdims=True))


class Terms:
    """The terms of documents are seen, their weights and topics are learned."""

    def raw(self, stored: Stored) -> np.ndarray:
        return terms.terms(stored.payload)

    def fitted(self, seen: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[Learned, np.ndarray]:
        documents = np.cumsum([part[0, 0] for part in seen])
        some = seen[: 1 + int(np.searchsorted(documents, DOCUMENTS))]
        topics = terms.learned(some, rng)
        return topics._asdict(), np.concatenate([topics.features(part) for part in some])

    def features(self, raw: np.ndarray, learned: Learned) -> np.ndarray:
        return Topics(**learned).features(raw)


def hog(stored: Stored) -> np.ndarray:
    """(1, 996): oriented gradients, and colours by place."""
    return np.hstack([descriptors.hog(stored.payload), descriptors.colour(stored.payload)])[None]


def pixels(stored: Stored) -> np.ndarray:
    """(1, 768): 16 x 16 pixels, of which PCA keeps what varies most."""
    return descriptors.thumbnail(stored.payload, 16)[None]


def mfcc(stored: Stored) -> np.ndarray:
    """(1, 143): statistics of 13 MFCC and their deltas; NaN of what is too short for a frame."""
    sound: Utterance = stored.payload
    frames = waves.mfcc(sound.wave, sound.rate, waves.ceiling(sound.rate, sound.heard))
    return waves.statistics(frames)[None] if len(frames) else np.full((1, waves.STATISTICS), np.nan, np.float32)


SETS: dict[str, FeatureSet] = {
    "hog": Plain(hog),
    "coates-ng": Patches(),
    "pixels": Plain(pixels),
    "mfcc": Plain(mfcc),
    "tf-idf": Terms(),
}


def given(embeddings: Embeddings) -> FeatureSet:
    """Rows of a file, by key."""
    return Plain(lambda stored: embeddings.of(stored.keys))


def encoded(path: Path) -> FeatureSet:
    """What the user's own network makes of a picture or a sound."""

    def one(stored: Stored) -> np.ndarray:
        if isinstance(stored.payload, Utterance):
            return network(path).sound(stored.payload.wave)[None]
        return network(path).picture(stored.payload)[None]

    return Plain(one)
