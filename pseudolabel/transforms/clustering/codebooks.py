"""Codebooks: what turns (n, D) features into codes. Learned centroids, or a projection that chance made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.transforms.clustering.clusters import Clusters
from pseudolabel.transforms.clustering.feature_sets import FROM_FILE, FeatureSet
from pseudolabel.transforms.clustering.kmeans import kmeans


class Codebook(NamedTuple):
    """What `centroids.npz` holds: all that is needed to label more data the same way."""

    clusters: Clusters
    learned: Mapping[str, np.ndarray]  # what the features need
    about: Mapping[str, Any]  # the features' name and the options they depend on

    def check(self, name: str, about: Mapping[str, Any], origin: str, features: FeatureSet) -> None:
        """Raise `UserError` if this codebook, which the user gave as `name`, is for other features."""
        for key, value in about.items():
            if self.about.get(key) != value:
                raise UserError(f"--codebook {name} is for {key} {self.about.get(key)}, not {value}")
        try:
            blank = features.features(features.blank, self.learned)
            given, width = blank.shape[1], len(self.clusters.mean)
            if origin == FROM_FILE and given != width:
                raise UserError(f"--features have {given} numbers to a row, the codebook is for {width}")
            self.clusters.assign(blank)
        except UserError:
            raise
        except Exception as fault:  # arrays of whatever kind and shape
            why = f"its arrays do not fit {origin} ({type(fault).__name__})"
            raise UserError(f"--codebook {name}: {why}; give a centroids.npz that cluster saved") from None

    def save(self, path: Path) -> None:
        """Write it."""
        np.savez(path, about=json.dumps(self.about), **self.clusters._asdict(), **self.learned)  # type: ignore[arg-type]


def load_codebook(path: Path) -> Codebook:
    """Read `centroids.npz`; refused where it is none, or not whole."""
    try:
        with np.load(path) as arrays:
            held = {name: np.asarray(arrays[name]) for name in arrays.files}
        if lacking := [name for name in ("about", *Clusters._fields) if name not in held]:
            raise ValueError(f"it has no {lacking[0]}")
        about = json.loads(str(held.pop("about")))
        clusters = Clusters(*(held.pop(name) for name in Clusters._fields))
        if not isinstance(about, dict) or not clusters.whole():
            raise ValueError("what it holds does not fit together")
    except Exception as fault:  # a foreign decoder, of a file that may be anything
        why = str(fault) if type(fault) is ValueError else type(fault).__name__
        raise UserError(
            f"{path} cannot be used: {why}; give a centroids.npz that cluster saved, or make its dataset again"
        ) from None
    return Codebook(clusters, held, about)


BLOCK_FRAMES = 1024  # frames


class Centroids(NamedTuple):
    """The code of a frame is its nearest centroid."""

    centroids: np.ndarray  # (k, D) float32

    @property
    def width(self) -> int:
        """D, of the features it is for."""
        return int(self.centroids.shape[1])

    def codes(self, features: np.ndarray) -> np.ndarray:
        """(n, D) -> (n,) int32: argmin of |c|^2 - 2 x c, as dump_km_label.py of fairseq's simple_kmeans."""
        squares = (self.centroids**2).sum(1)
        return _in_blocks(features, lambda x: (squares - 2 * x @ self.centroids.T).argmin(1))


class Projection(NamedTuple):
    """The code of a frame is the nearest unit vector of the codebook to its projection (Chiu et al. 2022, BEST-RQ)."""

    projection: np.ndarray  # (D, 16) float32
    codebook: np.ndarray  # (k, 16) float32, of length 1

    @property
    def width(self) -> int:
        """D, of the features it is for."""
        return int(self.projection.shape[0])

    def codes(self, features: np.ndarray) -> np.ndarray:
        """(n, D) -> (n,) int32. The nearest on the unit sphere is the one at the smallest angle."""
        return _in_blocks(features, lambda x: (x @ self.projection @ self.codebook.T).argmax(1))


def _in_blocks(features: np.ndarray, nearest: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Some frames at a time: there is a score for each of them and each code."""
    codes = [nearest(features[i : i + BLOCK_FRAMES]) for i in range(0, len(features), BLOCK_FRAMES)]
    return np.concatenate(codes).astype(np.int32) if codes else np.empty(0, np.int32)


def fit_centroids(points: np.ndarray, k: int, seed: int) -> Centroids:
    """k-means of (n, D) float32 frames."""
    if not len(points):
        raise UserError(
            "there is no frame to learn codes from: all that was looked at is silent, too short, or no sound", 3
        )
    if len(points) < k:
        raise UserError(
            f"{len(points)} frames cannot be {k} clusters; give --clusters {max(1, len(points))} or fewer", 3
        )
    return Centroids(kmeans(points, k, seed))


def random_projection(dimensions: int, size: int, width: int, rng: np.random.Generator) -> Projection:
    """A projection of Xavier-normal numbers and a codebook of normal ones brought to length 1, as NVIDIA NeMo has them
    (ssl_modules/quantizers.py, RandomProjectionVectorQuantizer)."""
    projection = rng.normal(0, np.sqrt(2 / (dimensions + width)), (dimensions, width))
    codebook = rng.normal(0, 1, (size, width))
    codebook /= np.linalg.norm(codebook, axis=1, keepdims=True)
    return Projection(projection.astype(np.float32), codebook.astype(np.float32))


def save_frame_codebook(path: Path, book: Centroids | Projection, about: dict[str, float]) -> None:
    """Write the arrays and what they are for: options of the features, so that new data can be coded the same way."""
    np.savez(path, **book._asdict(), **{name: np.float64(value) for name, value in about.items()})  # type: ignore[arg-type]


def load_frame_codebook(
    path: Path, kind: type[Centroids] | type[Projection], about: dict[str, float]
) -> Centroids | Projection:
    """Read a codebook; refused where it is of another kind, or for other features."""
    try:
        with np.load(path) as arrays:
            held = {name: np.asarray(arrays[name]) for name in arrays.files}
    except Exception as fault:  # a foreign decoder, of a file that may be anything
        raise UserError(
            f"--codebook {path} cannot be read: {type(fault).__name__}; give an .npz of mask-audio"
        ) from None
    if lacking := [name for name in (*kind._fields, *about) if name not in held]:
        raise UserError(f"--codebook {path} has no {lacking[0]}; give one that mask-audio saved for the same --targets")
    for name, value in about.items():
        if held[name].size != 1 or float(held[name].ravel()[0]) != value:
            raise UserError(f"--codebook {path} is for {name} {held[name].tolist()}, not {value:g}; give it the same")
    for name in kind._fields:
        if held[name].ndim != 2 or held[name].dtype != np.float32 or not np.isfinite(held[name]).all():
            raise UserError(f"--codebook {path}: its {name} are no matrix of finite float32; give one that is whole")
    return kind(*(held[name] for name in kind._fields))
