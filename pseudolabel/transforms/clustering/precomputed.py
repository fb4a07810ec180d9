"""Embeddings that a model made, one row to a sample: a `.npy`, an `.npz` or a Parquet file, by key or by row."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UnusableSample, UserError, decoding_errors, hash64
from pseudolabel.storage.files import file_stamp

if TYPE_CHECKING:
    import pyarrow as pa

FEATURE_SUFFIXES = (".npy", ".npz", ".parquet")
FILE_KINDS = "a .npy of (n, D), or an .npz or Parquet file with features, (n, D), and key, (n,) strings"
BLOCK_ROWS = 4096  # rows looked at together


class Embeddings(NamedTuple):
    """Which row is whose. The rows are read where they are needed: of a `.npy` no more than those."""

    path: Path
    hashes: np.ndarray  # (n,) uint64, ascending: of the keys
    order: np.ndarray  # (n,) int64: the row of each

    @property
    def width(self) -> int:
        """D."""
        return int(_read(self.path)[0].shape[1])

    def at(self, keys: Sequence[str]) -> np.ndarray:
        """(k,) int64: the rows of keys, -1 where there is none."""
        wanted = np.array([hash64(key) for key in keys], np.uint64)
        at = np.searchsorted(self.hashes, wanted).clip(max=len(self.hashes) - 1)
        return np.where(self.hashes[at] == wanted, self.order[at], -1)

    def rows(self, at: np.ndarray) -> np.ndarray:
        """(k,) of `at` -> (k, D) float32, NaN where there is no row."""
        found = np.asarray(_read(self.path)[0][at], np.float32)
        found[at < 0] = np.nan
        return found


def match_embeddings(path: Path, keys: Iterable[str] | None) -> Embeddings:
    """The embeddings of a file: by the keys in it, else row by row those of `keys`, the source's files in order.

    Refused where the numbers are none, or not as many as the samples; or where there are no keys at all.
    """
    matrix, own = _read(path)
    for i in range(0, len(matrix), BLOCK_ROWS):
        with np.errstate(over="ignore"):  # what is too large for float32 is infinite, and refused
            bad = np.flatnonzero(~np.isfinite(matrix[i : i + BLOCK_ROWS].astype(np.float32)).all(1))
        if len(bad):
            raise UserError(
                f"--features {path}: row {i + bad[0]} holds NaN or infinity; give finite numbers of 32 bits"
            )
    if own is None and keys is None:
        raise UserError(
            f"--features {path} has no keys, and files hold several samples; give an .npz or Parquet file with key"
        )
    keys = list(keys or ()) if own is None else own
    if len(keys) != len(matrix):
        what = "samples in the source; give one for each, in the order of their keys, or a column of keys"
        raise UserError(f"--features {path} has {len(matrix)} rows for {len(keys)} {what if own is None else 'keys'}")
    hashes = np.array([hash64(key) for key in keys], np.uint64)
    order = np.argsort(hashes, kind="stable")
    if len(twice := np.flatnonzero(np.diff(hashes[order]) == 0)):
        raise UserError(f"--features {path} has the key {keys[order[twice[0]]]} twice; give each sample one row")
    return Embeddings(path, hashes[order], order)


def _read(path: Path) -> tuple[np.ndarray, list[str] | None]:
    """(n, D) numbers, and the keys if the file has any."""
    return _loaded(path, file_stamp(path))


@lru_cache(maxsize=1)
def _loaded(path: Path, written: tuple[int, int]) -> tuple[np.ndarray, list[str] | None]:
    try:
        matrix, keys = {".npy": _npy, ".npz": _npz, ".parquet": _parquet}[path.suffix](path)
    except UserError:
        raise
    except Exception as fault:  # a foreign decoder, of a file that may be anything
        raise UserError(f"--features {path} cannot be read ({type(fault).__name__}); give {FILE_KINDS}") from None
    if matrix.ndim != 2 or not matrix.size or matrix.dtype.kind not in "fiu":
        raise UserError(f"--features {path} is of shape {matrix.shape}, {matrix.dtype}; give numbers of shape (n, D)")
    return matrix, keys


def _npy(path: Path) -> tuple[np.ndarray, None]:
    return np.load(path, mmap_mode="r"), None


def _npz(path: Path) -> tuple[np.ndarray, list[str] | None]:
    with np.load(path) as arrays:
        if "features" not in arrays.files:
            raise UserError(f"--features {path} holds {', '.join(arrays.files) or 'nothing'}; name the matrix features")
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
        raise UserError(f"--features {path} has columns {', '.join(names)}; name the one of embeddings features")
    table = pq.read_table(path, columns=[name for name in ("key", "features") if name in names])
    column = table["features"].combine_chunks()
    if column.null_count:
        raise UserError(f"--features {path}: {column.null_count} rows are null; leave them out, with a column of keys")
    widths = np.unique(column.value_lengths().to_numpy())
    if len(widths) > 1:
        raise UserError(f"--features {path}: rows of {widths[0]} and of {widths[-1]} numbers; give all the same")
    matrix = column.flatten().to_numpy(zero_copy_only=False).reshape(len(column), -1)
    return matrix, _keys(path, table["key"]) if "key" in names else None


def _keys(path: Path, column: pa.ChunkedArray) -> list[str]:
    keys: list[str] = column.to_pylist()
    if not all(isinstance(key, str) for key in keys):
        raise UserError(f"--features {path}: key is {column.type} with {column.null_count} nulls; give strings alone")
    return keys


RowPlace = tuple[Path, int, int]  # file, row group, row in it


class FrameFeatures:
    """A folder of `KEY.npy`, each (n, D), or of Parquet files with columns `key` and `features`, a list of n lists.

    Of Parquet a row group is read at a time, and again for the next sample: give it few rows.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise UserError(f"--features {folder} is no folder; give one of KEY.npy or of Parquet files")

    def of(self, key: str) -> np.ndarray:
        """(n, D) float32. Raises `UnusableSample` where there is nothing for this key, or nothing one could use."""
        path = self.folder / f"{key}.npy"
        if path.exists():
            with decoding_errors(f"{path.name} cannot be read"):
                frames = np.asarray(np.load(path), np.float32)
        elif key in self._places:
            path, group, row = self._places[key]
            with decoding_errors(f"its features in {path.name} cannot be read"):
                frames = np.array(_group(path, group)["features"][row].as_py(), np.float32)  # ragged ones are refused
        else:
            raise UnusableSample(f"no features for it in {self.folder.name}")
        if frames.ndim != 2 or not frames.size or not np.isfinite(frames).all():
            raise UnusableSample(
                f"its features in {path.name} are no matrix of finite numbers, but of shape {frames.shape}"
            )
        return frames

    @property
    def digest(self) -> str:
        """sha256 of the names and sizes of all files, and of how each begins and ends."""
        made = sha256()
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            made.update(f"{path.relative_to(self.folder)}\0{path.stat().st_size}\n".encode())
            with path.open("rb") as file:
                made.update(file.read(4096))
                file.seek(max(0, path.stat().st_size - 4096))
                made.update(file.read())
        return made.hexdigest()

    @cached_property
    def _places(self) -> dict[str, RowPlace]:
        import pyarrow.parquet as pq

        places: dict[str, RowPlace] = {}
        for path in sorted(self.folder.rglob("*.parquet")):
            file = pq.ParquetFile(path)
            if lacking := {"key", "features"} - set(file.schema_arrow.names):
                raise UserError(f"--features: {path} has no column {min(lacking)!r}; it wants key and features")
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, ["key"])["key"].to_pylist()
                places.update({key: (path, group, row) for row, key in enumerate(keys)})
        return places


@lru_cache(maxsize=1)
def _group(path: Path, group: int) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read_row_group(group, ["features"])
