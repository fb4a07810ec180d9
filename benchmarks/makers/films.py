"""Films: two seconds of a film, cropped and encoded again."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from makers.real_files import in_parallel, sources

FRAMES, SIDES = 60, (640, 480)


def make_films(count: int, folder: Path, data: Path) -> None:
    """H.264 of 640 x 480 pixels, 60 frames in 2 seconds, in MP4 and Matroska."""
    pool = sources(data, "video", ".mp4 .mkv .webm", is_film)
    in_parallel(partial(write_film, folder=folder, pool=pool), count)


def is_film(path: Path) -> bool:
    """Whether all of it decodes, to as many frames as are asked for, of 180 lines and more."""
    try:
        frames = read_frames(path, 0)
        return len(frames) == FRAMES and frames[0].height >= 180
    except (OSError, ValueError, IndexError):
        return False


def read_frames(path: Path, skip: int) -> list[Any]:
    """`FRAMES` frames after the first `skip`; fewer where the film ends before. A film may be read from its start."""
    import av

    frames = []
    with av.open(str(path)) as film:
        for number, frame in enumerate(film.decode(video=0)):
            if number >= skip:
                frames.append(frame)
            if len(frames) == FRAMES:
                break
    return frames


def write_film(number: int, folder: Path, pool: list[Path]) -> None:
    import av
    from PIL import Image

    rng = np.random.default_rng([7, number])
    path = pool[rng.integers(len(pool))]
    skip = int(rng.integers(0, 150))
    frames = read_frames(path, skip)
    frames = frames if len(frames) == FRAMES else read_frames(path, 0)
    width, height = frames[0].width, frames[0].height
    zoom = min(width / SIDES[0], height / SIDES[1]) * rng.uniform(0.75, 1)
    left, top = rng.uniform(0, width - zoom * SIDES[0]), rng.uniform(0, height - zoom * SIDES[1])
    box, mirror = (left, top, left + zoom * SIDES[0], top + zoom * SIDES[1]), rng.random() < 0.5
    target = folder / f"{number:04d}{'.mkv' if rng.random() < 0.3 else '.mp4'}"
    with av.open(str(target), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "19", "preset": "veryfast", "threads": "1"})
        stream.width, stream.height, stream.pix_fmt = *SIDES, "yuv420p"
        for frame in frames:
            image = frame.to_image().resize(SIDES, Image.Resampling.BICUBIC, box)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirror else image
            out.mux(stream.encode(av.VideoFrame.from_image(image)))
        out.mux(stream.encode(None))
