"""Precomputed features: a file of embeddings with one row per sample, or a folder with frames for each sample."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, cached_property, lru_cache, partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import Skipped, UnusableSample, UserError, decoding_errors, hash64, or_skipped
from pseudolabel.storage.files import file_sha256, file_stamp

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE_SUFFIXES = (".npy", ".npz", ".parquet")
FILE_KINDS = "a .npy of shape (n, D), or an .npz or Parquet file with features (n, D) and key, (n,) strings"
BLOCK_ROWS = 4096  # rows checked at once


class Embeddings(NamedTuple):
    """The row of each key in a `.npy`, `.npz` or Parquet file. In a `.npy`, only the rows in use are read."""

    path: Path
    hashes: np.ndarray  # (n,) uint64, ascending: hashes of the keys
    order: np.ndarray  # (n,) int64: the row of each hash

    @property
    def width(self) -> int:
        """Return D, the numbers per row."""
        return int(_read(self.path)[0].shape[1])

    def at(self, keys: Sequence[str]) -> np.ndarray:
        """Return the rows of k keys, (k,) int64; -1 for a key without a row."""
        wanted = np.array([hash64(key) for key in keys], np.uint64)
        at = np.searchsorted(self.hashes, wanted).clip(max=len(self.hashes) - 1)
        return np.where(self.hashes[at] == wanted, self.order[at], -1)

    def rows(self, at: np.ndarray) -> np.ndarray:
        """Return the embeddings at (k,) rows, (k, D) float32; NaN for row -1."""
        found = np.asarray(_read(self.path)[0][at], np.float32)
        found[at < 0] = np.nan
        return found


def match_embeddings(path: Path, keys: Iterable[str] | None) -> Embeddings:
    """Match the rows of a file to the keys in it, or else to `keys`, the source's files in order.

    Raise `UserError` if a number is not finite, a key is missing or repeated, or rows and keys differ in number.
    """
    matrix, own = _read(path)
    for i in range(0, len(matrix), BLOCK_ROWS):
        with np.errstate(over="ignore"):  # a number too large for float32 becomes infinite, and raises below
            bad = np.flatnonzero(~np.isfinite(matrix[i : i + BLOCK_ROWS].astype(np.float32)).all(1))
        if len(bad):
            raise UserError(f"--features {path}: row {i + bad[0]} holds NaN or infinity; give finite float32 numbers")
    if own is None and keys is None:
        raise UserError(
            f"--features {path} has no keys, but source files hold several samples; give .npz or .parquet with 'key'"
        )
    keys = list(keys or ()) if own is None else own
    if len(keys) != len(matrix):
        what = "samples in the source; give one row per sample, in the order of keys, or a column 'key'"
        raise UserError(
            f"--features {path} has {len(matrix)} rows for {len(keys)} "
            f"{what if own is None else 'keys; give one row per key'}"
        )
    hashes = np.array([hash64(key) for key in keys], np.uint64)
    order = np.argsort(hashes, kind="stable")
    if len(twice := np.flatnonzero(np.diff(hashes[order]) == 0)):
        raise UserError(f"--features {path} has the key {keys[order[twice[0]]]} twice; give one row per key")
    return Embeddings(path, hashes[order], order)


def _read(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """Return the (n, D) numbers, and the keys if the file has any."""
    return _load_file(path, file_stamp(path))


@lru_cache(maxsize=1)
def _load_file(path: Path, written: tuple[int, int]) -> tuple[np.ndarray, list[str] | None]:
    try:
        matrix, keys = {".npy": _npy, ".npz": _npz, ".parquet": _parquet}[path.suffix](path)
    except UserError:
        raise
    except Exception as fault:  # a third-party decoder may raise anything for a bad file
        raise UserError(f"--features {path} cannot be read ({type(fault).__name__}); give {FILE_KINDS}") from None
    if matrix.ndim != 2 or not matrix.size or matrix.dtype.kind not in "fiu":
        raise UserError(f"--features {path} is of shape {matrix.shape}, {matrix.dtype}; give numbers of shape (n, D)")
    return matrix, keys


def _npy(path: Path) -> tuple[np.ndarray, None]:
    return np.load(path, mmap_mode="r"), None


def _npz(path: Path) -> tuple[np.ndarray, list[str] | None]:
    with np.load(path) as arrays:
        if "features" not in arrays.files:
            raise UserError(f"--features {path} holds {', '.join(arrays.files) or 'nothing'}; name one 'features'")
        if "key" not in arrays.files:
            return arrays["features"], None
        keys = arrays["key"]
        if keys.ndim != 1 or keys.dtype.kind != "U":
            raise UserError(f"--features {path}: key is of shape {keys.shape}, {keys.dtype}; give (n,) strings")
        return arrays["features"], keys.tolist()


def _parquet(path: Path) -> tuple[np.ndarray, list[str] | None]:
    import pyarrow.parquet as pq

    names = pq.read_schema(path).names
    if "features" not in names:
        raise UserError(f"--features {path} has columns {', '.join(names)}; name the embeddings 'features'")
    table = pq.read_table(path, columns=[name for name in ("key", "features") if name in names])
    column = table["features"].combine_chunks()
    if column.null_count:
        raise UserError(f"--features {path}: {column.null_count} rows are null; remove them, and add a column 'key'")
    widths = np.unique(column.value_lengths().to_numpy())
    if len(widths) > 1:
        raise UserError(f"--features {path}: rows have {widths[0]} to {widths[-1]} numbers; give rows of equal length")
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return matrix, _keys(path, table["key"]) if "key" in names else None


def _keys(path: Path, column: pa.ChunkedArray) -> list[str]:
    keys: list[str] = column.to_pylist()
    if not all(isinstance(key, str) for key in keys):
        raise UserError(f"--features {path}: key is {column.type} with {column.null_count} nulls; give only strings")
    return keys


RowPlace = tuple[Path, int, int]  # file, row group, row in the row group


class FrameFeatures:
    """A folder of `KEY.npy`, each (n, D), or of Parquet files with columns `key` and `features`, a list of n lists.

    Parquet is read by whole row groups, and only the last one is cached. Row groups should have few rows.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(f"--features {folder} is not a folder; give a folder of KEY.npy or Parquet files")

    def of(self, key: str) -> np.ndarray:
        """Return the (n, D) float32 frames of a key. Raise `UnusableSample` if they are missing or unusable."""
        path = self.folder / f"{key}.npy"
        if path.exists():
            with decoding_errors(f"{path.name} cannot be read"):
                frames = np.asarray(np.load(path), np.float32)
        elif key in self._places:
            path, group, row = self._places[key]
            with decoding_errors(f"the features in {path.name} cannot be read"):
                frames = np.array(_group(path, group)["features"][row].as_py(), np.float32)  # raises if ragged
        else:
            raise UnusableSample(f"no features for this sample in {self.folder.name}")
        if frames.ndim != 2 or not frames.size or not np.isfinite(frames).all():
            raise UnusableSample(
                f"the features in {path.name} are not a finite (n, D) matrix, their shape is {frames.shape}"
            )
        return frames

    @property
    def digest(self) -> str:
        """Return the SHA-256 of the names and contents of all files. A process reads an unchanged file once."""
        made = sha256()
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            made.update(f"{path.relative_to(self.folder)}\0{_sha256(path, file_stamp(path))}\n".encode())
        return made.hexdigest()

    @cached_property
    def _places(self) -> dict[str, RowPlace]:
        places: dict[str, RowPlace] = {}
        for path in sorted(self.folder.rglob("*.parquet")):
            found = or_skipped(partial(_keys_of_groups, path), path.name)
            if isinstance(found, Skipped):
                raise UserError(f"--features: {path}: {found.reason}; give Parquet files with columns key and features")
            for group, keys in enumerate(found):
                places.update({key: (path, group, row) for row, key in enumerate(keys)})
        return places


def _keys_of_groups(path: Path) -> list[list[str]]:
    import pyarrow.parquet as pq

    with decoding_errors("cannot be read"):
        file = pq.ParquetFile(path)
        if lacking := {"key", "features"} - set(file.schema_arrow.names):
            raise UnusableSample(f"no column {min(lacking)!r}")
        return [file.read_row_group(i, ["key"])["key"].to_pylist() for i in range(file.num_row_groups)]


@cache
def _sha256(path: Path, written: tuple[int, int]) -> str:
    return file_sha256(path)


@lru_cache(maxsize=1)
def _group(path: Path, group: int) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read_row_group(group, ["features"])
