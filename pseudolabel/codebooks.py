"""Codebooks: what turns (n, D) features into codes. Learned centroids, or a projection that chance made once."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from pseudolabel.sample import Refused


class Centroids(NamedTuple):
    """The code of a frame is its nearest centroid."""

    centroids: np.ndarray  # (k, D) float32

    def codes(self, features: np.ndarray) -> np.ndarray:
        """(n, D) -> (n,) int32: argmin of |c|^2 - 2 x c, as dump_km_label.py of fairseq's simple_kmeans."""
        scores = (self.centroids**2).sum(1) - 2 * features @ self.centroids.T
        return np.asarray(scores.argmin(1).astype(np.int32))


class Projection(NamedTuple):
    """The code of a frame is the nearest unit vector of the codebook to its projection (Chiu et al. 2022, BEST-RQ)."""

    projection: np.ndarray  # (D, 16) float32
    codebook: np.ndarray  # (k, 16) float32, of length 1

    def codes(self, features: np.ndarray) -> np.ndarray:
        """(n, D) -> (n,) int32. The nearest on the unit sphere is the one at the smallest angle."""
        return np.asarray((features @ self.projection @ self.codebook.T).argmax(1).astype(np.int32))


def learned(points: np.ndarray, k: int, seed: int) -> Centroids:
    """k-means of (n, D) float32 points: k-means++, then 25 of Lloyd's steps, on one thread: always the same bytes."""
    import faiss

    if len(points) < k:
        raise Refused(f"{len(points)} frames cannot be {k} clusters; give --clusters {max(1, len(points))} or fewer", 3)
    faiss.omp_set_num_threads(1)
    means = faiss.Kmeans(
        points.shape[1],
        k,
        niter=25,
        seed=seed,
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
        min_points_per_centroid=1,  # fewer than 39 are worth a warning, not its printing one
        max_points_per_centroid=len(points),  # the sample is bounded as it is
    )
    means.train(np.ascontiguousarray(points))
    return Centroids(np.asarray(means.centroids))


def projected(dimensions: int, size: int, width: int, rng: np.random.Generator) -> Projection:
    """A projection of Xavier-normal numbers and a codebook of normal ones brought to length 1, as NVIDIA NeMo has them
    (ssl_modules/quantizers.py, RandomProjectionVectorQuantizer)."""
    projection = rng.normal(0, np.sqrt(2 / (dimensions + width)), (dimensions, width))
    codebook = rng.normal(0, 1, (size, width))
    codebook /= np.linalg.norm(codebook, axis=1, keepdims=True)
    return Projection(projection.astype(np.float32), codebook.astype(np.float32))


def save(path: Path, book: Centroids | Projection, about: dict[str, float]) -> None:
    """Write the arrays and what they are for: options of the features, so that new data can be coded the same way."""
    np.savez(path, **book._asdict(), **{name: np.float64(value) for name, value in about.items()})  # type: ignore[arg-type]


def load(path: Path, kind: type[Centroids] | type[Projection], about: dict[str, float]) -> Centroids | Projection:
    """Read a codebook; refused where it is of another kind, or for other features."""
    try:
        with np.load(path) as arrays:
            held = {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as fault:
        raise Refused(f"--codebook {path} cannot be read: {fault}") from None
    if lacking := [name for name in (*kind._fields, *about) if name not in held]:
        raise Refused(f"--codebook {path} has no {lacking[0]}; give one that mask-audio saved for the same --targets")
    for name, value in about.items():
        if float(held[name]) != value:
            raise Refused(f"--codebook {path} is for {name} {float(held[name]):g}, not {value:g}; give it the same")
    return kind(*(held[name] for name in kind._fields))
