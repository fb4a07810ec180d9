"""Codebooks: (n, D) features -> (n,) codes, by learned centroids or by a random projection that stays fixed."""

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

REMEDY = "give the .npz file that cluster or mask-audio saved, or make that dataset again"
About = Mapping[str, Any]  # the options that the features of a codebook depend on


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray], about: About) -> None:
    """Write a codebook: its arrays, and `about` as an array of JSON text."""
    np.savez(path, about=json.dumps(about), **arrays)  # type: ignore[arg-type]


def load_arrays(path: Path, names: Sequence[str]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and options of a codebook. Raise `UserError` if it is unreadable or lacks one of `names`."""
    try:
        with np.load(path) as file:
            arrays = {name: np.asarray(file[name]) for name in file.files}
        about = dict(json.loads(str(arrays.pop("about", "{}"))))
    except Exception as fault:  # a third-party decoder may raise anything for a bad file
        raise UserError(f"--codebook {path} cannot be read ({type(fault).__name__}); {REMEDY}") from None
    if lacking := [name for name in names if name not in arrays]:
        raise UserError(f"--codebook {path} has no {lacking[0]}; {REMEDY}")
    return arrays, about


def check_about(name: str | Path, about: About, wanted: About) -> None:
    """Raise `UserError` if the options of the codebook `name` differ from `wanted`."""
    for key, value in wanted.items():
        if key not in about:
            raise UserError(f"--codebook {name} is of another task: it has no {key}; {REMEDY}")
        if about.get(key) != value:
            raise UserError(f"--codebook {name} is for {key} {about.get(key)}, not {value}; give the codebook's value")


class Codebook(NamedTuple):
    """The codebook of `cluster`: the clusters, and all that is needed to label more data with them."""

    clusters: Clusters
    learned: Mapping[str, np.ndarray]  # the fitted arrays of the feature set
    about: About

    def check(self, name: str, about: About, origin: str, features: FeatureSet) -> None:
        """Raise `UserError` if this codebook, given by the user as `name`, is for other features or options."""
        check_about(name, self.about, about)
        try:
            blank = features.features(features.blank, self.learned)
            given, width = blank.shape[1], len(self.clusters.mean)
            if origin == FROM_FILE and given != width:
                raise UserError(f"--features have {given} numbers per row; give {width}, as in the codebook")
            self.clusters.assign(blank)
        except UserError:
            raise
        except Exception as fault:  # the arrays may have any type and shape
            why = f"its arrays do not fit {origin} features ({type(fault).__name__})"
            raise UserError(f"--codebook {name}: {why}; {REMEDY}") from None

    def save(self, path: Path) -> None:
        """Write the codebook to `path`."""
        save_arrays(path, {**self.clusters._asdict(), **self.learned}, self.about)


def load_codebook(path: Path) -> Codebook:
    """Read the codebook of `cluster`. Raise `UserError` if its content is incomplete or inconsistent."""
    arrays, about = load_arrays(path, Clusters._fields)
    clusters = Clusters(*(arrays.pop(name) for name in Clusters._fields))
    if "features" not in about or not clusters.whole():
        raise UserError(f"--codebook {path}: its content is incomplete or inconsistent; {REMEDY}")
    return Codebook(clusters, arrays, about)


BLOCK_FRAMES = 1024  # frames scored at once


class Centroids(NamedTuple):
    """A learned codebook: the code of a frame is the number of its nearest centroid."""

    centroids: np.ndarray  # (k, D) float32

    @property
    def width(self) -> int:
        """Return D, the numbers per frame of its features."""
        return int(self.centroids.shape[1])

    def codes(self, features: np.ndarray) -> np.ndarray:
        """Return (n,) int32 codes: the argmin of |c|^2 - 2 x c, as in dump_km_label.py of fairseq's simple_kmeans."""
        squares = (self.centroids**2).sum(1)
        return _in_blocks(features, lambda x: (squares - 2 * x @ self.centroids.T).argmin(1))


class Projection(NamedTuple):
    """A random codebook: a code is the index of the unit vector nearest to a projection (Chiu et al. 2022, BEST-RQ)."""

    projection: np.ndarray  # (D, 16) float32
    codebook: np.ndarray  # (k, 16) float32, rows of length 1

    @property
    def width(self) -> int:
        """Return D, the numbers per frame of its features."""
        return int(self.projection.shape[0])

    def codes(self, features: np.ndarray) -> np.ndarray:
        """Return (n,) int32 codes of (n, D) features. The nearest unit vector has the largest dot product."""
        return _in_blocks(features, lambda x: (x @ self.projection @ self.codebook.T).argmax(1))


def _in_blocks(features: np.ndarray, nearest: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return (n,) int32 codes, block by block: every frame has k scores, which are held for one block only."""
    codes = [nearest(features[i : i + BLOCK_FRAMES]) for i in range(0, len(features), BLOCK_FRAMES)]
    return np.concatenate(codes).astype(np.int32) if codes else np.empty(0, np.int32)


def fit_centroids(points: np.ndarray, k: int, seed: int) -> Centroids:
    """Fit k-means to (n, D) float32 frames. Raise `UserError` if there are fewer than `k` frames."""
    if not len(points):
        raise UserError("no frame to learn codes from: all is silent, too short or no audio; try --min-seconds 0.1", 3)
    if len(points) < k:
        raise UserError(f"--clusters {k}: only {len(points)} frames; give {max(1, len(points))} or fewer", 3)
    return Centroids(kmeans(points, k, seed))


def random_projection(dimensions: int, size: int, width: int, rng: np.random.Generator) -> Projection:
    """Return a Xavier-normal projection and a codebook of normal vectors scaled to length 1, as in NVIDIA NeMo
    (ssl_modules/quantizers.py, RandomProjectionVectorQuantizer)."""
    projection = rng.normal(0, np.sqrt(2 / (dimensions + width)), (dimensions, width))
    codebook = rng.normal(0, 1, (size, width))
    codebook /= np.linalg.norm(codebook, axis=1, keepdims=True)
    return Projection(projection.astype(np.float32), codebook.astype(np.float32))


def load_frame_codebook(path: Path, kind: type[Centroids] | type[Projection], about: About) -> Centroids | Projection:
    """Read the codebook of `mask-audio`. Raise `UserError` if it is of another kind or for other features."""
    arrays, own = load_arrays(path, kind._fields)
    check_about(path, own, about)
    for name in kind._fields:
        if arrays[name].ndim != 2 or arrays[name].dtype != np.float32 or not np.isfinite(arrays[name]).all():
            raise UserError(f"--codebook {path}: the array {name} is not a matrix of finite float32; {REMEDY}")
    return kind(*(arrays[name] for name in kind._fields))
