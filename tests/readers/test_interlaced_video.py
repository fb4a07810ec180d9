"""Interlaced films: each frame is that of libav's bwdif, run over the whole film in one go."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from drawn import opened, photograph
from reels import filtered, woven, write

from pseudolabel import ArrowOfTime, rows
from pseudolabel.contracts import Sample, Skipped, Split
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import Clip, VideoReader

ALL = Split("train", 0, 1)
HEIGHT, WIDTH, STEP = 96, 112, 3  # pixels; STEP: that a field is further than the field before
SCENE = photograph(HEIGHT, WIDTH + STEP * 400)
FIELDS = [SCENE[:, STEP * i : STEP * i + WIDTH] for i in range(400)]

INTERLACED = {"flags": "+ildct+ilme"}
KINDS = {  # codec, options, the first field is the upper one
    "a.mp4": ("libx264", {**INTERLACED, "g": "15"}, True),
    "b.mkv": ("libx264", {"x264-params": "bff=1:bframes=2:keyint=12:open-gop=1"}, False),
    "c.mkv": ("mpeg2video", {**INTERLACED, "top": "1", "bf": "2", "g": "12"}, True),
    "d.mpg": ("mpeg2video", {**INTERLACED, "bf": "2"}, False),
    "e.avi": ("mpeg4", INTERLACED, False),
    "f.ts": ("libx264", {"x264-params": "tff=1"}, True),
}


def film(folder: Path, name: str, count: int = 100) -> Path:
    codec, options, top_first = KINDS[name]
    return write(folder / name, woven(FIELDS[: 2 * count], top_first), codec, **options)


def clips(path: Path, reader: VideoReader) -> dict[str, Clip]:
    extents = list(reader.scan(path.name, str(path), path.stat().st_size))
    items = [item for extent in extents for item in reader.read([extent], ALL)]
    assert [item for item in items if not isinstance(item, Sample)] == []
    return {item.key: item.payload for item in items if isinstance(item, Sample)}


def equal(shown: np.ndarray, truth: np.ndarray) -> bool:
    """Whether two pictures of one YUV frame are equal but for the rounding of two ways to RGB."""
    return int(np.abs(shown.astype(int) - truth).max()) <= 2


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("gap", [0.04, 0.2])
def test_an_interlaced_frame_is_that_of_the_filter(name: str, gap: float, tmp_path: Path) -> None:
    path = film(tmp_path, name)
    truth = [frame.to_ndarray(format="rgb24") for frame in filtered(path, "bwdif", "mode=send_frame:deint=interlaced")]
    assert len(truth) == 100, "no frame more or less"
    found = clips(path, VideoReader(Sampling((0, 1, 2, 3), 4, gap, seconds=True), HEIGHT))
    assert len(found) >= round(3.5 / (4 * gap)) - 1
    for clip in found.values():
        for image, time in zip(clip.frames, clip.times, strict=True):
            assert equal(image, truth[round(time * 25)])


@pytest.mark.parametrize(("name", "pieces"), [("a.mp4", 3), ("b.mkv", 8), ("c.mkv", 5)])
def test_a_frame_is_the_same_wherever_reading_starts(
    name: str, pieces: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first frame of a piece has a neighbour in the piece before, and the last one in the piece behind."""
    path, reader = film(tmp_path, name, 200), VideoReader(Sampling((0, 1), 2, 0.04, seconds=True), HEIGHT)
    whole = clips(path, reader)
    assert len(whole) > 90
    monkeypatch.setattr("pseudolabel.readers.video.reader.EXTENT_BYTES", path.stat().st_size // pieces)
    extents = list(reader.scan(path.name, str(path), path.stat().st_size))
    assert len(extents) == pieces
    parts = clips(path, reader)
    assert list(parts) == list(whole)
    for key, clip in parts.items():
        assert np.array_equal(clip.frames, whole[key].frames), key
    for extent in extents[-2:]:
        first, count = reader.first(extent, 3)
        (*some,) = reader.read([first], ALL)
        assert len(some) == count == 3
        for item in some:
            assert isinstance(item, Sample)
            assert np.array_equal(item.payload.frames, whole[item.key].frames), "a sample of it shows the same"


def test_frames_of_both_kinds_in_one_film(tmp_path: Path) -> None:
    """Progressive, interlaced and progressive again: only what is interlaced is changed."""
    parts = [
        write(tmp_path / "0.ts", FIELDS[:30], bf="0"),
        write(tmp_path / "1.ts", woven(FIELDS[:60]), **{"x264-params": "tff=1:bframes=0"}),
    ]
    path = tmp_path / "all.ts"
    with av.open(str(path), "w") as out, av.open(str(parts[0])) as like:
        stream = out.add_stream_from_template(like.streams.video[0])
        for place, part in enumerate([*parts, parts[0]]):
            with av.open(str(part)) as container:
                packets = [packet for packet in container.demux(video=0) if packet.size]
            for i, packet in enumerate(packets):
                packet.pts = packet.dts = 90_000 + 3600 * (30 * place + i)
                packet.stream = stream
                out.mux(packet)
    kinds = [frame.interlaced_frame for frame in filtered(path, "null")]
    assert kinds == [False] * 30 + [True] * 30 + [False] * 30
    truth = [frame.to_ndarray(format="rgb24") for frame in filtered(path, "bwdif", "mode=send_frame:deint=interlaced")]
    found = clips(path, VideoReader(Sampling((0, 1), 2, 2, seconds=False), HEIGHT))
    assert len(found) > 15
    for clip in found.values():
        for image, time in zip(clip.frames, clip.times, strict=True):
            assert equal(image, truth[round(time * 25)])


@pytest.mark.parametrize(
    ("codec", "order", "parity"),
    [(codec, *told) for codec in ("ffv1", "libx264") for told in ((2, "tff"), (3, "bff"), (1, ""), (0, ""))]
    + [("libx265", 2, "tff"), ("mpeg4", 2, "tff")],
)
def test_the_container_says_it_where_the_codec_cannot(codec: str, order: int, parity: str, tmp_path: Path) -> None:
    """Encoded as if progressive: no frame says that it is interlaced."""
    given = {"libx265": {"x265-params": "log-level=none"}}.get(codec, {})
    path = coded(tmp_path / "a.mkv", codec, woven(FIELDS[:80], parity != "bff"), order, **given)
    settings = ("bwdif", f"mode=send_frame:parity={parity}:deint=all") if parity else ("null", "")
    truth = [frame.to_ndarray(format="rgb24") for frame in filtered(path, *settings)]
    found = clips(path, VideoReader(Sampling((0, 1), 2, 2, seconds=False), HEIGHT))
    assert len(found) > 5
    for clip in found.values():
        for image, time in zip(clip.frames, clip.times, strict=True):
            assert equal(image, truth[round(time * 25)])


def test_a_png_that_loads_in_passes_is_not_interlaced(tmp_path: Path) -> None:
    path = coded(tmp_path / "a.mov", "png", FIELDS[:40], 0, layout="rgb24", **INTERLACED)
    assert filtered(path, "null")[0].interlaced_frame, "so libav calls it"
    found = clips(path, VideoReader(Sampling((0, 1), 2, 2, seconds=False), HEIGHT))
    for clip in found.values():
        for image, time in zip(clip.frames, clip.times, strict=True):
            assert equal(image, FIELDS[round(time * 25)])


def test_fields_as_pictures_of_their_own_are_refused_by_name(tmp_path: Path) -> None:
    fields = [np.ascontiguousarray(image[i % 2 :: 2]) for i, image in enumerate(FIELDS[:40])]
    path = write(tmp_path / "a.mp4", fields, "libx265", **{"x265-params": "interlace=tff:log-level=none"})
    reader = VideoReader(Sampling((0, 1), 2, 2, seconds=False), HEIGHT)
    items = list(reader.read(reader.scan("a.mp4", str(path), path.stat().st_size), ALL))
    assert items
    for item in items:
        assert isinstance(item, Skipped)
        assert item.reason.startswith("HEVC in separate fields is not read")


def coded(path: Path, codec: str, frames: list[np.ndarray], order: int, layout: str = "yuv420p", **given: str) -> Path:
    """Encode a film whose container says the order of fields, by its number in libavcodec."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=given)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, layout
        stream.codec_context.field_order = order
        for i, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24").reformat(format=layout)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def parted(image: np.ndarray) -> int:
    """The pixels by which odd lines lie further right than the even ones around them."""
    gray = image.astype(np.float32).mean(-1)
    odd, around, most = gray[1:-1:2], (gray[:-2:2] + gray[2::2]) / 2, 6
    return int(
        np.argmin(
            [np.abs(odd[:, most + s : s - most or None] - around[:, most:-most]).mean() for s in range(-most, most)]
        )
        - most
    )


def test_the_order_of_fields_does_not_tell_the_arrow_of_time(tmp_path: Path) -> None:
    """Where the lines of a frame part in the way in which the film moves, time goes forwards; at native size."""
    path = film(tmp_path, "a.mp4", 200)
    raw = [parted(frame.to_ndarray(format="rgb24")) for frame in filtered(path, "null")]
    assert np.mean([part == -STEP for part in raw]) > 0.9, "as it is stored, each frame tells it"
    made = list(rows(ArrowOfTime(size=HEIGHT, resize=HEIGHT, frames=8, gap_seconds=0.04, max_cut=1), path))
    assert len(made) >= 12
    assert {row["label"] for row in made} == {0, 1}
    for row in made:
        assert [parted(opened(frame)) for frame in row["clip"]] == [0] * 8
