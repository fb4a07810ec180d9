"""Embeddings that a model made, one row to a sample: a `.npy`, an `.npz` or a Parquet file, by key or by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pseudolabel.sample import Refused, hash64

SUFFIXES = (".npy", ".npz", ".parquet")
KINDS = "a .npy of (n, D), an .npz or Parquet file with features and, or not, key"
BLOCK = 4096  # rows looked at together


class Embeddings(NamedTuple):
    """Which row is whose. The rows are read where they are needed: of a `.npy` no more than those."""

    path: Path
    hashes: np.ndarray  # (n,) uint64, ascending: of the keys
    rows: np.ndarray  # (n,) int64

    @property
    def width(self) -> int:
        """D."""
        return int(_read(self.path)[0].shape[1])

    def of(self, keys: Sequence[str]) -> np.ndarray:
        """(k, D) float32, NaN where there is nothing for a key."""
        matrix, wanted = _read(self.path)[0], np.array([hash64(key) for key in keys], np.uint64)
        at = np.searchsorted(self.hashes, wanted).clip(max=len(self.hashes) - 1)
        found = np.asarray(matrix[self.rows[at]], np.float32)
        found[self.hashes[at] != wanted] = np.nan
        return found


def matched(path: Path, keys: Iterable[str]) -> Embeddings:
    """The embeddings of a file: by the keys in it, else row by row those of `keys`, the samples in the source's order.

    Refused where the numbers are none, or not as many as the samples.
    """
    matrix, own = _read(path)
    for i in range(0, len(matrix), BLOCK):
        bad = np.flatnonzero(~np.isfinite(matrix[i : i + BLOCK]).all(1))
        if len(bad):
            raise Refused(f"--features {path}: row {i + bad[0]} holds NaN or infinity; give finite numbers")
    hashes = np.array([hash64(key) for key in (keys if own is None else own)], np.uint64)
    if len(hashes) != len(matrix):
        what = "samples in the source; give one for each, in the order of their keys, or a column of keys"
        raise Refused(f"--features {path} has {len(matrix)} rows for {len(hashes)} {what if own is None else 'keys'}")
    order = np.argsort(hashes, kind="stable")
    return Embeddings(path, hashes[order], order)


@lru_cache(maxsize=1)
def _read(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """(n, D) numbers, and the keys if the file has any."""
    try:
        matrix, keys = {".npy": _npy, ".npz": _npz, ".parquet": _parquet}[path.suffix](path)
    except Refused:
        raise
    except Exception as fault:  # a foreign decoder, of a file that may be anything
        raise Refused(f"--features {path} cannot be read ({type(fault).__name__}); give {KINDS}") from None
    if matrix.ndim != 2 or not matrix.size or not np.issubdtype(matrix.dtype, np.number):
        raise Refused(f"--features {path} is of shape {matrix.shape}, {matrix.dtype}; give numbers of shape (n, D)")
    return matrix, keys


def _npy(path: Path) -> tuple[np.ndarray, None]:
    return np.load(path, mmap_mode="r"), None


def _npz(path: Path) -> tuple[np.ndarray, list[str] | None]:
    with np.load(path) as arrays:
        if "features" not in arrays.files:
            raise Refused(f"--features {path} holds {', '.join(arrays.files) or 'nothing'}; name the matrix features")
        keys = arrays["key"].astype(str).tolist() if "key" in arrays.files else None
        return arrays["features"], keys


def _parquet(path: Path) -> tuple[np.ndarray, list[str] | None]:
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    if "features" not in names:
        raise Refused(f"--features {path} has columns {', '.join(names)}; name the one of embeddings features")
    table = pq.read_table(path, columns=[name for name in ("key", "features") if name in names])
    column = table["features"].combine_chunks()
    if column.null_count:
        raise Refused(f"--features {path}: {column.null_count} rows are null; leave them out, with a column of keys")
    widths = np.unique(column.value_lengths().to_numpy())
    if len(widths) > 1:
        raise Refused(f"--features {path}: rows of {widths[0]} and of {widths[-1]} numbers; give all the same")
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return matrix, table["key"].to_pylist() if "key" in names else None
