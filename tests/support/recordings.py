"""Sound files encoded by libav, and a plain decode of all of a file by libav."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

Options = dict[str, str]


def speech(rate: int, seconds: float, channels: int = 2, seed: int = 0) -> np.ndarray:
    """(n, channels) float32: tones and noise, three quiet seconds in four, so that a variable bit rate varies."""
    t = np.arange(round(rate * seconds)) / rate
    loud, noise = np.where(t % 4 < 3, 0.02, 1.0), np.random.default_rng(seed).normal(size=(len(t), channels))
    tones = np.stack([np.sin(2 * np.pi * (300 + 100 * c) * t * (1 + 0.1 * t / seconds)) for c in range(channels)], 1)
    return (0.3 * loud[:, None] * (tones + 0.3 * noise * loud[:, None])).clip(-0.99, 0.99).astype(np.float32)


def write(
    path: Path, wave: np.ndarray, rate: int, codec: str, *, format: str | None = None, picture: str = "",
    codec_options: Options | None = None, format_options: Options | None = None, first: int = 0,
) -> Path:  # fmt: skip
    """Encode (n, channels) float32. `picture`: "cover" adds cover art, "film" a film of a second. `first`: timestamp of
    the first frame."""
    with av.open(str(path), "w", format=format, options=format_options or {}) as container:
        if picture:
            film: Any = container.add_stream(
                {"cover": "mjpeg"}.get(picture, "libvpx" if path.suffix == ".webm" else "mpeg4"), rate=10
            )
            film.width, film.height, film.pix_fmt = 64, 64, "yuvj420p" if picture == "cover" else "yuv420p"
            if picture == "cover":
                film.disposition = Disposition.attached_pic
        stream: Any = container.add_stream(codec, rate=rate)
        stream.layout = {1: "mono", 2: "stereo"}[wave.shape[1]]
        stream.options = codec_options or {}
        if codec != "libmp3lame":
            stream.bit_rate = 96_000
        if picture:
            shown = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 90, np.uint8), "rgb24")
            for number in range(1 if picture == "cover" else 10):
                shown.pts = number
                container.mux(film.encode(shown))
            container.mux(film.encode(None))
        if not stream.codec_context.is_open:
            stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        cut = av.AudioResampler(stream.codec_context.format.name, stream.layout.name, rate, frame_size=size)
        whole = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave.T), "fltp", stream.layout.name)
        whole.sample_rate, whole.pts = rate, first
        for given in (whole, None):
            for frame in cut.resample(given):
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def decode(path: Path) -> np.ndarray:
    """(n, channels) float32: everything libav decodes of the audio stream, as it is."""
    with av.open(str(path)) as container:
        to_float = av.AudioResampler("flt")
        frames = [made for frame in container.decode(audio=0) for made in to_float.resample(frame)]
        return np.concatenate([f.to_ndarray().reshape(-1, f.layout.nb_channels) for f in frames])
