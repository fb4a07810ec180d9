"""What the peers over photographs share: JPEGs in, a DataLoader of PyTorch, one Parquet file out."""

import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image


def jpegs_in(source: Path) -> list[Path]:
    return sorted(path for path in source.rglob("*") if path.suffix.lower() == ".jpg")


def encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def store(dataset: torch.utils.data.Dataset, out: Path, workers: int, names: list[str]) -> None:
    """Write the items of the dataset, tuples, as rows with these column names."""
    loader = torch.utils.data.DataLoader(dataset, batch_size=16, num_workers=workers, collate_fn=list)
    columns = zip(*(row for batch in loader for row in batch), strict=True)
    out.mkdir(parents=True)
    pq.write_table(pa.table(dict(zip(names, columns, strict=True))), out / "train.parquet")
