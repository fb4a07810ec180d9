"""Films made for the tests, a counter burnt into every frame, and the means to read it back."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

HEIGHT, WIDTH = 128, 144
LEFT, TOP, BLOCK, BLOCKS = 24, 16, 24, 4  # of the counter: 4 x 4 blocks, white where a bit is set
TICK = Fraction(1, 1000)


def counted(number: int) -> np.ndarray:
    """(128, 144, 3) uint8: the number in 16 bits, on gray, a red corner at the top left and a blue one below it."""
    image = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    image[:12, :24], image[-12:, :24] = (255, 0, 0), (0, 0, 255)
    bits = (number >> np.arange(BLOCKS**2)[::-1] & 1).reshape(BLOCKS, BLOCKS)
    bits = bits.repeat(BLOCK, 0).repeat(BLOCK, 1)
    image[TOP : TOP + BLOCKS * BLOCK, LEFT : LEFT + BLOCKS * BLOCK] = 255 * bits[..., None]
    return image


def number(image: np.ndarray, left: int = 0, top: int = 0) -> int:
    """The counter of a frame, or of what was cut out of one at (left, top)."""
    y, x = np.mgrid[:BLOCKS, :BLOCKS] * BLOCK + BLOCK // 2
    bits = image[y + TOP - top, x + LEFT - left].mean(-1) > 128
    return int((bits.ravel() << np.arange(BLOCKS**2)[::-1]).sum())


def write(
    path: Path,
    frames: Sequence[np.ndarray],
    codec: str = "libx264",
    times: Sequence[float] | None = None,
    rate: int = 25,
    turn: int = 0,
    layout: str = "",
    **options: str,
) -> Path:
    """Encode frames shown at `times` seconds, or at an even rate; to be turned by `turn` degrees when shown."""
    layout = layout or {"mjpeg": "yuvj420p", "gif": "rgb8"}.get(codec, "yuv420p")
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix in (".mp4", ".mov") else {}) as out:
        stream = out.add_stream(codec, rate=rate, options=options)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt, stream.bit_rate = layout, 2_000_000
        if times is not None:
            stream.codec_context.time_base = TICK
        if turn:
            stream.set_display_rotation(turn)
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=layout)
            frame.time_base = Fraction(1, rate) if times is None else TICK
            frame.pts = i if times is None else round(times[i] * 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def woven(fields: Sequence[np.ndarray], top_first: bool = True) -> list[np.ndarray]:
    """Interlace images in pairs: the first shows in the even lines, or in the odd ones, the second in the others."""
    frames = []
    for first, second in zip(fields[::2], fields[1::2], strict=True):
        frames.append(first.copy())
        frames[-1][int(top_first) :: 2] = second[int(top_first) :: 2]
    return frames


def filtered(path: Path, name: str, settings: str = "") -> list[av.VideoFrame]:
    """All frames of a film behind a filter of libav, decoded from the top, in one go."""
    with av.open(str(path)) as container:
        graph = av.filter.Graph()
        source = graph.add_buffer(template=container.streams.video[0])
        graph.link_nodes(source, graph.add(name, settings), graph.add("buffersink")).configure()
        made: list[av.VideoFrame] = []
        for frame in [*container.decode(video=0), None]:
            graph.push(frame)
            with suppress(av.error.BlockingIOError, av.error.EOFError):
                while True:
                    made.append(graph.pull())
    return made
