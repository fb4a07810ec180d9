"""Whether clusters mean something: how even they are, and how well they agree with other labels of the same samples."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from pseudolabel.contracts import Refused
from pseudolabel.storage.layout import MANIFEST
from pseudolabel.storage.stores import handle

BATCH = 1 << 16  # rows read together


def table(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n,) and (n,) labels of whatever kind -> (a, b) int64: how many samples have each pair of them."""
    rows, one = np.unique(one, return_inverse=True)
    columns, other = np.unique(other, return_inverse=True)
    counts = np.bincount(one.ravel() * len(columns) + other.ravel(), minlength=len(rows) * len(columns))
    return counts.reshape(len(rows), len(columns))


def entropy(counts: np.ndarray) -> float:
    """(k,) counts -> nats: ln k where all are the same, 0 where there is but one."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum()) + 0.0


def nmi(counts: np.ndarray) -> float:
    """(a, b) counts of `table` -> normalised mutual information: 2 I / (H + H), 0 to 1; 1 where both have one label."""
    rows, columns = entropy(counts.sum(1)), entropy(counts.sum(0))
    shared = rows + columns - entropy(counts.ravel())
    return max(0.0, 2 * shared / (rows + columns)) if rows + columns > 0 else 1.0


def purity(counts: np.ndarray) -> float:
    """(classes, clusters) counts -> the share of samples that are of their cluster's commonest class."""
    return float(counts.max(0).sum() / counts.sum())


# --- the labels of a dataset -----------------------------------------------------------------------------------------


def check(out: Path, task: str) -> None:
    """Refuse what is no dataset of the task's."""
    try:
        made_by = json.loads((out / MANIFEST).read_text("utf-8")).get("task")
    except (OSError, ValueError, AttributeError):
        made_by = None
    if made_by != task:
        what = f"of {made_by}" if made_by else "no dataset"
        raise Refused(f"--against {out} is {what}; give the folder of a dataset that {task} made")


def stored(out: Path, *columns: str) -> Iterator[Mapping[str, np.ndarray]]:
    """Some columns of a dataset's first copy, a batch of rows at a time."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    for path in sorted((out / "data").glob("*.parquet")):
        try:
            with pq.ParquetFile(handle(path)) as file:
                for batch in file.iter_batches(BATCH, columns=["copy", *columns]):
                    first = batch.filter(pc.equal(batch["copy"], 0))
                    yield {name: first[name].to_numpy(zero_copy_only=False) for name in columns}
        except (KeyError, pa.ArrowInvalid):
            raise Refused(f"{path} cannot be read, or has no clusters; make its dataset again") from None


def by_key(out: Path) -> dict[str, int]:
    """The clusters of a dataset's first copy."""
    pairs = (zip(batch["key"], batch["cluster"].tolist(), strict=True) for batch in stored(out, "key", "cluster"))
    return {key: cluster for some in pairs for key, cluster in some}
