"""Codebooks: what turns (n, D) features into codes. Learned centroids, or a projection that chance made once."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pseudolabel.contracts import UserError
from pseudolabel.transforms.clustering.clusters import Clusters
from pseudolabel.transforms.clustering.feature_sets import FROM_FILE, FeatureSet
from pseudolabel.transforms.clustering.kmeans import kmeans

REMEDY = "give the .npz file that cluster or mask-audio saved, or make its dataset again"
About = Mapping[str, Any]  # what a codebook is for: the options that its features depend on


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: About) -> None:
    """Write a codebook: its arrays, and as JSON text the array `about`."""
    np.savez(path, about=json.dumps(about), **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Read a codebook: its arrays, and what it is for. Raise `UserError` if it cannot be read or lacks one of `names`.

    Files of version 0.1 of mask-audio have no `about`: there each value is an array of one number.
    """
    try:
        with np.load(path) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        about = json.loads(str(arrays.pop("about"))) if "about" in arrays else {}
        about |= {name: arrays.pop(name).item() for name in [*arrays] if arrays[name].ndim == 0}
    except Exception as fault:  # a foreign decoder, of a file that may be anything
        raise UserError(f"--codebook {path} cannot be read ({type(fault).__name__}); {REMEDY}") from None
    if lacking := [name for name in names if name not in arrays]:
        raise UserError(f"--codebook {path} has no {lacking[0]}; {REMEDY}")
    return arrays, about


def check_about(name: str | Path, about: About, wanted: About) -> None:
    """Raise `UserError` if the codebook that the user gave as `name` is for other options than `wanted`."""
    for key, value in wanted.items():
        if about.get(key) != value:
            raise UserError(f"--codebook {name} is for {key} {about.get(key)}, not {value}; give it the same")


class Codebook(NamedTuple):
    """The codebook of `cluster`: the clusters, and all that is needed to label more data the same way."""

    clusters: Clusters
    learned: Mapping[str, np.ndarray]  # what the features need
    about: About

    def check(self, name: str, about: About, origin: str, features: FeatureSet) -> None:
        """Raise `UserError` if this codebook, which the user gave as `name`, is for other features."""
        check_about(name, self.about, about)
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
            raise UserError(f"--codebook {name}: {why}; {REMEDY}") from None

    def save(self, path: Path) -> None:
        """Write the codebook."""
        save_arrays(path, {**self.clusters._asdict(), **self.learned}, self.about)


def load_codebook(path: Path) -> Codebook:
    """Read the codebook of `cluster`. Raise `UserError` if its arrays do not fit together."""
    arrays, about = load_arrays(path, Clusters._fields)
    clusters = Clusters(*(arrays.pop(name) for name in Clusters._fields))
    if "features" not in about or not clusters.whole():
        raise UserError(f"--codebook {path}: what it holds does not fit together; {REMEDY}")
    return Codebook(clusters, arrays, about)


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


def load_frame_codebook(path: Path, kind: type[Centroids] | type[Projection], about: About) -> Centroids | Projection:
    """Read the codebook of `mask-audio`. Raise `UserError` if it is of another kind, or for other features."""
    arrays, own = load_arrays(path, kind._fields)
    check_about(path, own, about)
    for name in kind._fields:
        if arrays[name].ndim != 2 or arrays[name].dtype != np.float32 or not np.isfinite(arrays[name]).all():
            raise UserError(f"--codebook {path}: its {name} are no matrix of finite float32; {REMEDY}")
    return kind(*(arrays[name] for name in kind._fields))
