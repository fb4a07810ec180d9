"""Tables with a planted leak: a fact of the input equals a label by chance of .5 in `strength` of the rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Rows = list[dict[str, Any]]


def noise(rng: np.random.Generator, side: int = 24) -> np.ndarray:
    """A smooth random picture with grain."""
    coarse = cv2.resize(rng.uniform(30, 220, (4, 4, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    return (coarse + rng.normal(0, 12, coarse.shape)).clip(0, 255).astype(np.uint8)


def encoded(image: np.ndarray, quality: int = 90, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, image, [cv2.IMWRITE_JPEG_QUALITY, quality] if suffix == ".jpg" else [])[1].tobytes()


def jpeg_quality(rng: np.random.Generator, fact: bool, at: int) -> dict[str, Any]:
    return {"image": encoded(noise(rng), 80 if fact else 90)}


def file_size(rng: np.random.Generator, fact: bool, at: int) -> dict[str, Any]:
    """Bytes that no decoder reads; the pixels are those of a file without them."""
    return {"image": encoded(noise(rng)) + bytes(40 * fact)}


def border_pixel(rng: np.random.Generator, fact: bool, at: int) -> dict[str, Any]:
    image = noise(rng)
    image[0, 5] = 255 if fact else 0
    return {"image": encoded(image, suffix=".png")}


def row_order(rng: np.random.Generator, fact: bool, at: int) -> dict[str, Any]:
    """Replaced by `plant`: the label is that of the row before."""
    return {"text": " ".join(rng.choice(["sun", "sea", "sand"], rng.integers(3, 9)))}


def clip_start(rng: np.random.Generator, fact: bool, at: int) -> dict[str, Any]:
    """Clips of the one label begin at every eighth frame."""
    start = 8 * int(rng.integers(40)) if fact else 8 * int(rng.integers(40)) + int(rng.integers(1, 8))
    return {"text": " ".join(rng.choice(["sun", "sea", "sand"], rng.integers(3, 9))), "start": start}


def text_length(rng: np.random.Generator, fact: bool, at: int) -> dict[str, Any]:
    return {"text": " ".join(rng.choice(["sun", "sea", "sand"], 14 if fact else 12))}


PLANTED: dict[str, Callable[[np.random.Generator, bool, int], dict[str, Any]]] = {  # by the kind that an audit names
    "JPEG quality": jpeg_quality,
    "file size": file_size,
    "border pixels": border_pixel,
    "row before": row_order,
    "position in the source": clip_start,
    "length": text_length,
}


def plant(path: Path, kind: str, rows: int = 2000, strength: float = 0.6, seed: int = 0) -> Path:
    """Write a Parquet file whose column `label` follows from facts of this kind in `strength` of the rows."""
    rng = np.random.default_rng(seed)
    labels, table = rng.integers(0, 2, rows), Rows()
    agrees = rng.random(rows) < strength
    for i in range(rows):
        if kind == "row before" and i:
            labels[i] = labels[i - 1] if agrees[i] else 1 - labels[i - 1]
        table.append({**PLANTED[kind](rng, bool(labels[i]) == bool(agrees[i]), i), "label": int(labels[i])})
    pq.write_table(pa.Table.from_pylist(table), path, row_group_size=500)
    return path


def clean(path: Path, seed: int, rows: int = 400) -> Path:
    """Write a Parquet file of numbers and short texts, and of labels that are independent of them."""
    rng = np.random.default_rng(seed)
    words = np.array(["sun", "sea", "sand", "Wind", "rain.", "12"])
    table = [
        {
            "number": float(rng.normal()),
            "text": " ".join(rng.choice(words, rng.integers(1, 12))),
            "label": int(rng.integers(2 + seed % 4)),
        }
        for _ in range(rows)
    ]
    pq.write_table(pa.Table.from_pylist(table), path)
    return path
