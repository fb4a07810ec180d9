"""Features that a model made of each sample, by key: read one at a time, never held whole."""

from __future__ import annotations

from functools import cached_property, lru_cache
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pseudolabel.sample import Refused, Unusable, blamed

if TYPE_CHECKING:
    import pyarrow as pa

Place = tuple[Path, int, int]  # file, row group, row in it


class Features:
    """A folder of `KEY.npy`, each (n, D), or of Parquet files with columns `key` and `features`, a list of n lists.

    Of Parquet a row group is read at a time, and again for the next sample: give it few rows.
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise Refused(f"--features {folder} is no folder; give one of KEY.npy or of Parquet files")

    def of(self, key: str) -> np.ndarray:
        """(n, D) float32. Raises `Unusable` where there is nothing for this key, or nothing one could use."""
        path = self.folder / f"{key}.npy"
        if path.exists():
            with blamed(f"{path.name} cannot be read"):
                frames = np.asarray(np.load(path), np.float32)
        elif key in self._places:
            path, group, row = self._places[key]
            with blamed(f"its features in {path.name} cannot be read"):
                frames = np.array(_group(path, group)["features"][row].as_py(), np.float32)  # ragged ones are refused
        else:
            raise Unusable(f"no features for it in {self.folder.name}")
        if frames.ndim != 2 or not frames.size or not np.isfinite(frames).all():
            raise Unusable(f"its features in {path.name} are no matrix of finite numbers, but of shape {frames.shape}")
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
    def _places(self) -> dict[str, Place]:
        import pyarrow.parquet as pq

        places: dict[str, Place] = {}
        for path in sorted(self.folder.rglob("*.parquet")):
            file = pq.ParquetFile(path)
            if lacking := {"key", "features"} - set(file.schema_arrow.names):
                raise Refused(f"--features: {path} has no column {min(lacking)!r}; it wants key and features")
            for group in range(file.num_row_groups):
                keys = file.read_row_group(group, ["key"])["key"].to_pylist()
                places.update({key: (path, group, row) for row, key in enumerate(keys)})
        return places


@lru_cache(maxsize=1)
def _group(path: Path, group: int) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.ParquetFile(path).read_row_group(group, ["features"])
