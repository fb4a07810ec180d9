"""Kinds of video that a player treats in a way of its own: transparent, of high dynamic range, cover art, cut off."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.stream import Disposition
from drawn import photograph
from PIL import Image
from reels import HEIGHT, WIDTH, counted, write

from pseudolabel.contracts import Extent, Sample, Skipped, Split, UnusableSample
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.frames import FrameConverter
from pseudolabel.readers.video.reader import Clip, VideoReader
from pseudolabel.readers.video.streams import ALPHA_DECODERS

ALL = Split("train", 0, 1)
FRAMES = [counted(i) for i in range(40)]


def read(path: Path) -> list[Sample | Skipped]:
    reader = VideoReader(Sampling((0, 1, 2, 3), 4, 2, seconds=False), HEIGHT)
    return list(reader.read(reader.scan(path.name, str(path), path.stat().st_size), ALL))


def clips(path: Path) -> list[Clip]:
    return [item.payload for item in read(path) if isinstance(item, Sample)]


def reason(path: Path) -> str:
    (item,) = read(path)
    assert isinstance(item, Skipped)
    assert item.unusable
    return item.reason


# --- transparency ----------------------------------------------------------------------------------------------------


def transparent(path: Path, codec: str, alpha: bool = True, **options: str) -> Path:
    """A film that hides black and colours behind an alpha that falls from left to right and moves."""
    layout = "yuva420p" if alpha else "yuv420p"
    picture = photograph(HEIGHT, WIDTH)
    with av.open(str(path), "w") as out:
        stream = out.add_stream(
            codec, rate=25, options={"auto-alt-ref": "0", "cpu-used": "8", "deadline": "realtime", **options}
        )
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = WIDTH, HEIGHT, layout, 8_000_000
        for i in range(40):
            clear = np.roll(np.linspace(255, 0, WIDTH), 3 * i).astype(np.uint8)
            image = np.dstack([picture, np.broadcast_to(clear, (HEIGHT, WIDTH))])
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgba").reformat(format=layout)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def planes(path: Path, decoder: str) -> Iterator[list[np.ndarray]]:
    """Each frame's planes as libvpx itself gives them: Y, U, V and alpha."""
    with av.open(str(path)) as container:
        libvpx = av.CodecContext.create(decoder, "r")
        for packet in container.demux(video=0):
            for frame in libvpx.decode(packet if packet.size else None):
                assert frame.format.name == "yuva420p"
                yield [np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width] for p in frame.planes]


def on_white(y: np.ndarray, u: np.ndarray, v: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """BT.601 of limited range, by its definition, laid on white."""
    luma = 1.164384 * (y.astype(float) - 16)
    cb, cr = ((c.repeat(2, 0).repeat(2, 1).astype(float) - 128) for c in (u, v))
    colours = np.dstack([luma + 1.596027 * cr, luma - 0.391762 * cb - 0.812968 * cr, luma + 2.017232 * cb])
    share = alpha[..., None] / 255
    return np.asarray(colours.clip(0, 255) * share + 255 * (1 - share))


@pytest.mark.parametrize(("suffix", "codec"), [("webm", "libvpx"), ("webm", "libvpx-vp9"), ("mkv", "libvpx-vp9")])
def test_a_transparent_film_lies_on_white(codec: str, suffix: str, tmp_path: Path) -> None:
    path = transparent(tmp_path / f"a.{suffix}", codec)
    truth = [on_white(*given) for given in planes(path, codec)]
    assert len(truth) == 40
    found = clips(path)
    assert len(found) >= 2
    for clip in found:
        for image, time in zip(clip.frames, clip.times, strict=True):
            apart = np.abs(image.astype(float) - truth[round(time * 25)])
            assert apart.mean() < 1.5
            assert np.percentile(apart, 99) < 8, "but for how chroma is interpolated"
    clear = 3 * round(found[0].times[0] * 25)
    assert found[0].frames[0][:, clear - 8 : clear].min() > 235, "whatever is behind it"


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_transparent_film_is_the_same_wherever_reading_starts(
    codec: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = transparent(tmp_path / "a.webm", codec, g="8")
    reader = VideoReader(Sampling((0, 1), 2, 0.04, seconds=True), HEIGHT)
    whole = {item.key: item for item in reader.read([Extent(path.name, str(path), 0, None, 9)], ALL)}
    monkeypatch.setattr("pseudolabel.readers.video.reader.EXTENT_BYTES", path.stat().st_size // 2)
    extents = list(reader.scan(path.name, str(path), path.stat().st_size))
    assert len(extents) == 2
    parts = [item for extent in extents for item in reader.read([extent], ALL)]
    assert len(parts) == len(whole) > 10
    for item in parts:
        one = whole[item.key]
        assert isinstance(item, Sample)
        assert isinstance(one, Sample)
        assert np.array_equal(item.payload.frames, one.payload.frames)


@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_a_film_without_alpha_is_as_libavs_own_decoder_has_it(codec: str, tmp_path: Path) -> None:
    path = transparent(tmp_path / "a.webm", codec, alpha=False)
    with av.open(str(path)) as container:
        truth = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for clip in clips(path):
        for image, time in zip(clip.frames, clip.times, strict=True):
            assert np.abs(image.astype(int) - truth[round(time * 25)]).max() <= 2


def test_without_a_decoder_for_its_alpha_a_film_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ALPHA_DECODERS, "vp9", "a-codec-that-no-libav-has")
    said = reason(transparent(tmp_path / "a.webm", "libvpx-vp9"))
    assert said == (
        "transparent VP9 needs the decoder a-codec-that-no-libav-has, which this PyAV lacks; "
        "install the wheel of PyPI: pip install av"
    )


def test_the_transparent_film_of_moviepy_lies_on_white(shared: Path) -> None:
    path = shared / "video" / "moviepy" / "transparent.webm"
    truth = next(planes(path, "libvpx-vp9"))
    height = len(truth[0])
    reader = VideoReader(Sampling((0, 1), 2, 1, seconds=False), height)
    first = next(iter(reader.read(reader.scan("a.webm", str(path), 1), ALL)))
    assert isinstance(first, Sample)
    assert np.abs(first.payload.frames[0].astype(float) - on_white(*truth)).mean() < 2


# --- high dynamic range ----------------------------------------------------------------------------------------------

PQ, HLG, LINEAR, BT2020, BT709, UNKNOWN = 16, 18, 8, 9, 1, 2


def coloured(path: Path, codec: str, transfer: int, primaries: int) -> Path:
    with av.open(str(path), "w") as out:
        options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        stream = out.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv422p10le" if "pro" in codec else "yuv420p10le"
        stream.codec_context.color_trc, stream.codec_context.color_primaries = transfer, primaries
        for i, image in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base, frame.color_trc, frame.color_primaries = i, Fraction(1, 25), transfer, primaries
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("name", "codec", "transfer", "primaries"),
    [
        ("a.mp4", "libx265", PQ, BT2020),
        ("a.mp4", "libx265", HLG, BT2020),
        ("b.mkv", "libx264", HLG, BT2020),
        ("b.mkv", "libx264", BT709, BT2020),
        ("c.mov", "prores_ks", PQ, UNKNOWN),
        ("c.mov", "prores_ks", HLG, BT2020),
        ("d.ts", "libx265", BT709, BT2020),
        ("d.ts", "libx265", PQ, BT2020),
        ("b.mkv", "libx264", LINEAR, BT709),
    ],
)
def test_high_dynamic_range_is_skipped_by_name(
    name: str, codec: str, transfer: int, primaries: int, tmp_path: Path
) -> None:
    said = reason(coloured(tmp_path / name, codec, transfer, primaries))
    names = [{PQ: "PQ", HLG: "HLG", LINEAR: "linear"}.get(transfer), {BT2020: "BT.2020"}.get(primaries)]
    assert said.startswith(f"HDR or wide gamut ({', '.join(filter(None, names))}) is not read; convert it: ffmpeg -vf")


@pytest.mark.parametrize(("transfer", "primaries"), [(BT709, BT709), (UNKNOWN, UNKNOWN), (6, 6), (13, 1)])
def test_ten_bits_alone_are_no_high_dynamic_range(transfer: int, primaries: int, tmp_path: Path) -> None:
    assert len(clips(coloured(tmp_path / "a.mp4", "libx265", transfer, primaries))) >= 2


def test_a_frame_says_it_where_its_file_does_not() -> None:
    frame = av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24")
    FrameConverter(HEIGHT)(frame)
    frame.color_trc = PQ
    with pytest.raises(UnusableSample, match=r"HDR or wide gamut \(PQ\)"):
        FrameConverter(HEIGHT)(frame)


# --- cover art -------------------------------------------------------------------------------------------------------


@contextmanager
def sound_film(path: Path) -> Iterator[tuple[av.container.OutputContainer, av.AudioStream]]:
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac" if path.suffix != ".avi" else "mp3", rate=44_100, layout="mono")
        yield out, sound
        rng = np.random.default_rng(0)
        for i in range(40):
            frame = av.AudioFrame.from_ndarray(rng.normal(0, 0.1, (1, 1024)).astype(np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 44_100, 1024 * i, Fraction(1, 44_100)
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))


def add_picture(out: av.container.OutputContainer, cover: bool) -> None:
    """One picture: cover art, or a stream of its own that is only one frame long."""
    stream = out.add_stream("mjpeg", rate=25)
    stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuvj420p"
    if cover:
        stream.disposition = Disposition.attached_pic
    frame = av.VideoFrame.from_ndarray(FRAMES[0], format="rgb24").reformat(format="yuvj420p")
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    out.mux(packets := stream.encode(frame))
    assert packets or out.mux(stream.encode(None)) is None


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "c.webm.mkv"])
def test_sound_with_cover_art_is_no_film(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with sound_film(path) as (out, _):
        if path.suffix == ".mp4":
            add_picture(out, cover=True)
        else:
            picture = io.BytesIO()
            Image.fromarray(FRAMES[0]).save(picture, "JPEG")
            out.add_attachment("cover.jpg", "image/jpeg", picture.getvalue())
    with av.open(str(path)) as container:
        assert len(container.streams.video) == 1, "libav has a video stream for it"
    assert reason(path) == "no video stream, only audio, cover art"


def test_sound_with_a_picture_as_a_stream_is_a_film_of_one_frame(tmp_path: Path) -> None:
    with sound_film(tmp_path / "a.mkv") as (out, _):
        add_picture(out, cover=False)
    (item,) = read(tmp_path / "a.mkv")
    assert isinstance(item, Skipped)
    assert (item.unusable, item.reason.partition("; give longer")[0]) == (
        False,
        "1 frames in 0.00 s, a clip spans 6 frames",
    )


def test_a_film_with_cover_art_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as out:
        film = out.add_stream("libx264", rate=25)
        film.width, film.height, film.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        add_picture(out, cover=True)
        for i, image in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
    assert len(clips(path)) >= 2


# --- cut off ---------------------------------------------------------------------------------------------------------


def boxes(data: bytes) -> dict[bytes, tuple[int, int]]:
    """The outermost boxes of an MP4: where each begins and ends."""
    found, at = {}, 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found[data[at + 4 : at + 8]] = (at, at + length)
        at += length
    return found


@pytest.mark.parametrize("share", [0.01, 0.3, 0.99])
@pytest.mark.parametrize("name", ["a.mp4", "b.mov", "c.3gp"])
def test_a_recording_without_its_end_lacks_its_index(name: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    with av.open(str(path), "w") as out:  # the index comes last, as cameras write it
        film = out.add_stream("mpeg4", rate=25)
        film.width, film.height, film.pix_fmt = 176, 144, "yuv420p"
        for i in range(40):
            frame = av.VideoFrame.from_ndarray(photograph(144, 176, seed=i), format="rgb24").reformat(format="yuv420p")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(film.encode(frame))
        out.mux(film.encode(None))
    data = path.read_bytes()
    start, stop = boxes(data)[b"moov"]
    assert start > boxes(data)[b"mdat"][0]
    path.write_bytes(data[: int(start * share) + 12])
    assert reason(path).startswith("its index (the moov box) is missing: the recording or the copy of it was cut off")
    path.write_bytes(data[: start + 20])
    assert reason(path).startswith("its index (the moov box) is cut off")
    path.write_bytes(data[:stop])
    assert len(clips(path)) >= 2


def test_an_index_of_another_fault_is_not_missed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", FRAMES)
    data = path.read_bytes()
    at = data.index(b"stsd")
    path.write_bytes(data[: at - 4] + bytes(len(data[at - 4 : at + 60])) + data[at + 60 :])
    assert "moov" not in "".join(item.reason for item in read(path) if isinstance(item, Skipped))
    (tmp_path / "b.mp4").write_bytes(b"no film, only words\n" * 50)
    assert "moov" not in reason(tmp_path / "b.mp4")
