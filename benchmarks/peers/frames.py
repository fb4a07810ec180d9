"""Clips of shuffled frames as loaders of VCOP and OPN make them, with PyAV and PIL.

Every film is decoded whole. Of one clip at a random place (the task takes as many of films of two seconds) 4 frames, 8
apart, are cut to the square in the middle, resized to 112 pixels, encoded as JPEG of quality 95, and stored in a random
order in one Parquet file. WORKERS is the number of threads that decode a film; one process does it all. Unlike the task
it measures neither motion nor cuts, keeps all rows in memory, and cannot be resumed.

usage: frames.py SOURCE OUT WORKERS
"""

import io
import random
import sys
from pathlib import Path

import av
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

FRAMES, GAP, SIDE = 4, 8, 112


def encode(frame: av.VideoFrame) -> bytes:
    image = frame.to_image()
    width, height = image.size
    side = min(width, height)
    box = ((width - side) // 2, (height - side) // 2, (width + side) // 2, (height + side) // 2)
    buffer = io.BytesIO()
    image.crop(box).resize((SIDE, SIDE), Image.Resampling.BILINEAR).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def clip(path: Path, threads: int) -> list[bytes]:
    """`FRAMES` frames of a film that are `GAP` apart."""
    with av.open(str(path)) as film:
        stream = film.streams.video[0]
        stream.codec_context.thread_count, stream.thread_type = threads, "AUTO"
        frames = list(film.decode(stream))
    begin = random.randint(0, len(frames) - GAP * (FRAMES - 1) - 1)
    return [encode(frames[begin + GAP * i]) for i in range(FRAMES)]


def main() -> None:
    source, out, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    rows = []
    for path in sorted(path for path in source.rglob("*") if path.suffix in (".mp4", ".mkv")):
        frames, order = clip(path, workers), random.sample(range(FRAMES), FRAMES)
        rows.append((path.name, [frames[i] for i in order], order))
    keys, frames, orders = zip(*rows, strict=True)
    out.mkdir(parents=True)
    pq.write_table(pa.table({"key": keys, "frames": frames, "order": orders}), out / "train.parquet")


if __name__ == "__main__":
    main()
