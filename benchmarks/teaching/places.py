"""Where the data lies, and what is made of it: sources for the tool, rows, and arrays that are kept between trainings.

DATA has the folders of ../shared/data: images/clothing and images/sign_digits (the folder of a file is its class),
audio/fsdd (DIGIT_SPEAKER_NUMBER.wav), text/banking77 and video/asl_gestures. What has more files is used as well.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pseudolabel import Task, run

SIDE = 72  # pixels; the short side of a picture of a source
SEEN = 32  # pixels; the side of what a network is shown
LARGEST_SHARE, LARGEST = 0.4, 1000  # of the pictures are for pretraining, without labels


class MissingData(Exception):
    """Real data is not where it is looked for."""


class Places(NamedTuple):
    """The folder of the real data, and the folder for everything that is made."""

    data: Path
    work: Path

    def real(self, name: str) -> Path:
        """Return a folder of real data. Raise `MissingData`."""
        if not (self.data / name).is_dir():
            raise MissingData(f"there is no folder {self.data / name}; give --data")
        return self.data / name

    def arrays(self, name: str, make: Callable[[], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return arrays that are made once and kept."""
        path = self.work / "arrays" / f"{name}.npz"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            unfinished = path.with_suffix(".part.npz")
            np.savez(unfinished, **make())
            unfinished.rename(path)
        with np.load(path) as kept:
            return dict(kept)

    def folder(self, name: str, make: Callable[[Path], None]) -> Path:
        """Return a folder that is made once and kept."""
        path = self.work / name
        if not path.exists():
            unfinished = path.with_name(f"{path.name}.part")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            make(unfinished)
            unfinished.rename(path)
        return path

    def rows(self, name: str, task: Task, source: Path, copies: int = 1) -> pa.Table:
        """Return the rows that the tool writes, made once and kept."""
        out = self.work / "rows" / f"{name}-{copies}"
        run(task, source, out=out, copies=copies)
        return pq.read_table(out / "data")

    def megabytes_per_copy(self, name: str, copies: int) -> float:
        """Return the size of the rows on disk, for each copy."""
        files = (self.work / "rows" / f"{name}-{copies}" / "data").iterdir()
        return sum(path.stat().st_size for path in files) / 1e6 / copies


def hash_order(names: Sequence[str]) -> list[int]:
    """Return an order that depends on nothing but the names."""
    return sorted(range(len(names)), key=lambda i: sha256(names[i].encode()).digest())


# --- pictures --------------------------------------------------------------------------------------------------------


def picture_source(places: Places, name: str) -> Path:
    """Return the folder of the pictures for pretraining: PNG, the short side SIDE pixels."""
    return places.folder(f"sources/{name}", lambda folder: _write_pictures(places, name, folder)) / "unlabelled"


def labelled_pictures(places: Places, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, SEEN, SEEN, 3) uint8, the squares in the middle of the other pictures, and their classes."""
    picture_source(places, name)
    with np.load(places.work / "sources" / name / "labelled.npz") as kept:
        return kept["pictures"], kept["labels"]


def _write_pictures(places: Places, name: str, folder: Path) -> None:
    from PIL import Image, ImageOps

    found = sorted(path for path in places.real(f"images/{name}").rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    found = [found[i] for i in hash_order([f"{path.parent.name}/{path.name}" for path in found])]
    seen, pictures = min(LARGEST, round(LARGEST_SHARE * len(found))), []
    (folder / "unlabelled").mkdir()
    for number, path in enumerate(found):
        image = Image.open(path)
        image.draft("RGB", (2 * SIDE, 2 * SIDE))
        image = ImageOps.exif_transpose(image).convert("RGB")
        scale = SIDE / min(image.size)
        image = image.resize([max(SIDE, round(scale * side)) for side in image.size], Image.Resampling.LANCZOS)
        if number < seen:
            image.save(folder / "unlabelled" / f"{number:04d}.png")
        else:
            pictures.append(np.asarray(ImageOps.fit(image, (SEEN, SEEN), Image.Resampling.BILINEAR)))
    labels = np.unique([path.parent.name for path in found[seen:]], return_inverse=True)[1]
    np.savez(folder / "labelled.npz", pictures=np.stack(pictures), labels=labels)


def decode_picture(picture: dict[str, Any]) -> np.ndarray:
    """Decode a picture of a row: (H, W, 3) uint8."""
    import cv2

    return cv2.imdecode(np.frombuffer(picture["bytes"], np.uint8), cv2.IMREAD_COLOR)[..., ::-1]


def decode_pictures(media: Sequence[Any]) -> np.ndarray:
    """Decode pictures of one size: (n, H, W, 3) uint8, or (n, m, H, W, 3) of lists of pictures."""
    return np.stack([decode_pictures(one) if isinstance(one, list) else decode_picture(one) for one in media])
