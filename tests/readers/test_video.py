"""The reader of films: a counter in every frame tells which one it is."""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import reels
from mutants import over
from reels import HEIGHT, WIDTH, counted, number, write
from runs import SHARED

from pseudolabel.contracts import Extent, Sample, Skipped, Split, UnusableSample, UserError
from pseudolabel.readers.sources.opening import FaultRecordingFile
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.decode import VideoFile
from pseudolabel.readers.video.frames import FrameConverter
from pseudolabel.readers.video.reader import Clip, VideoOptions, VideoReader

ALL = Split("train", 0, 1)
FRAMES = [counted(i) for i in range(120)]


def videos(gap: float = 8, seconds: bool = False, count: int = 4, short: int = HEIGHT, **options: float) -> VideoReader:
    usual = Sampling(tuple(range(count)), count, gap, seconds)
    return VideoReader(VideoOptions(**options).space_clips(usual), short)  # type: ignore[arg-type]


def read(path: Path, reader: VideoReader | None = None, key: str = "") -> list[Sample | Skipped]:
    """All clips of a film. Films of one key have clips that begin at the same times."""
    reader = reader or videos()
    return list(reader.read(reader.scan(key or path.name, str(path), path.stat().st_size), ALL))


def clips(items: list[Sample | Skipped]) -> list[Clip]:
    return [item.payload for item in items if isinstance(item, Sample)]


def reasons(items: list[Sample | Skipped]) -> list[str]:
    return [item.reason for item in items if isinstance(item, Skipped)]


def numbers(items: list[Sample | Skipped]) -> list[list[int]]:
    return [[number(frame) for frame in clip.frames] for clip in clips(items)]


def stamped(items: list[Sample | Skipped]) -> bool:
    """Whether the counters of all frames say what their time stamps say, at 25 frames a second."""
    return numbers(items) == [(clip.times * 25).round().astype(int).tolist() for clip in clips(items)]


def begin(item: Sample | Skipped) -> float:
    """The second at which a clip begins, by its key."""
    return float(item.key.split("#")[1].split("-")[0])


# --- formats ---------------------------------------------------------------------------------------------------------

BFRAMES = {"x264-params": "bframes=3:b-adapt=0:b-pyramid=normal"}
OPEN = {"g": "12", "flags": "-cgop", "x264-params": "bframes=3:b-adapt=0:scenecut=0"}
FORMATS = {
    "a.mp4": ("libx264", BFRAMES),
    "b.mkv": ("libx264", OPEN),
    "c.avi": ("libx264", BFRAMES),
    "d.flv": ("libx264", {}),
    "e.ts": ("libx264", BFRAMES),
    "f.mp4": ("libx265", {"x265-params": "log-level=none"}),
    "g.webm": ("libvpx", {}),
    "h.webm": ("libvpx-vp9", {"cpu-used": "8"}),
    "i.avi": ("mpeg4", {"bf": "2"}),
    "j.mov": ("mjpeg", {}),
    "k.gif": ("gif", {}),
    "l.mpg": ("mpeg2video", {"bf": "2"}),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_frames_of_their_times(name: str, tmp_path: Path) -> None:
    codec, options = FORMATS[name]
    path = write(tmp_path / name, FRAMES, codec, **options)
    for items, step in ((read(path), 8), (read(path, videos(0.2, seconds=True)), 5)):
        assert not reasons(items)
        assert stamped(items)
        shown = np.array(numbers(items))
        assert (np.diff(shown, axis=1) == step).all()
        assert np.diff(shown[:, 0]).tolist() == [4 * step] * (len(shown) - 1)
        assert 12 <= shown[0, 0] < 13 + 4 * step, "none of the first half second"
        assert shown[-1, 0] + 7 * step >= 120, "one more would not fit"
        assert all(clip.frames.shape == (4, HEIGHT, WIDTH, 3) for clip in clips(items))


@pytest.mark.parametrize("name", ["asl_gestures/book.mkv", "intel/bottle-detection.mp4", "torchcodec/av1_video.mkv"])
def test_what_is_not_decoded_changes_nothing(name: str, shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames that none refers to, and packets none needs, are left out: all others are the same to the byte, whether
    packets are held or read twice."""
    path = shared / "video" / name
    with av.open(str(path)) as container:
        shown = FrameConverter(64)
        whole = {frame.pts: shown(frame) for frame in container.decode(video=0)}
    film = VideoFile(str(path))
    timeline = film.look(0, float("inf"), 0)
    assert timeline.stamps.tolist() == sorted(whole)
    rng = np.random.default_rng(0)
    for share, held in ((0.01, 0), (0.01, 1 << 25), (0.2, 1 << 25)):
        monkeypatch.setattr("pseudolabel.readers.video.decode.MAX_HELD_BYTES", held)
        timeline = film.look_again(0, float("inf"), 0)
        assert bool(timeline.packets) == bool(held)
        wanted = np.flatnonzero(rng.random(len(timeline.stamps)) < share)
        frames = [shown(frame) if frame else None for frame in film.frames(timeline, wanted)]
        assert len(frames) == len(wanted) > 0
        for index, frame in zip(wanted, frames, strict=True):
            assert np.array_equal(frame, whole[timeline.stamps[index]])
    film.close()


def test_frames_shown_before_the_key_frame_they_follow(tmp_path: Path) -> None:
    """In an open group of pictures a frame may need the segment before its own as well: any set is decoded right."""
    path, rng = write(tmp_path / "open.mkv", FRAMES, "libx264", **OPEN), np.random.default_rng(1)
    film = VideoFile(str(path))
    timeline = film.look(0, float("inf"), 0)
    assert (timeline.segments != np.searchsorted(timeline.keys, timeline.stamps, "right") - 1).any(), "it is open"
    shown = FrameConverter(HEIGHT)
    for i in range(40):
        wanted = np.flatnonzero(rng.random(120) < rng.choice([0.01, 0.05, 0.3]))
        frames = list(film.frames(timeline._replace(packets=()) if i % 2 else timeline, wanted))
        assert [number(shown(frame)) if frame else None for frame in frames] == wanted.tolist()
    film.close()


# --- times -----------------------------------------------------------------------------------------------------------


def test_a_variable_rate_goes_by_its_time_stamps(tmp_path: Path) -> None:
    times = np.cumsum(np.random.default_rng(2).integers(10, 90, 120)) / 1000
    path = write(tmp_path / "vfr.mkv", FRAMES, times=times.tolist())
    items = read(path, videos(0.3, seconds=True))
    assert np.allclose(np.diff([begin(item) for item in items]), 1.2)
    for item, clip in zip(items, clips(items), strict=True):
        chosen = [number(frame) for frame in clip.frames]
        assert np.allclose(clip.times, times[chosen] - times[0], atol=1e-6)
        for at, index in zip(begin(item) + np.arange(4) * 0.3, chosen, strict=True):
            assert abs(times[index] - times[0] - at) == pytest.approx(np.abs(times - times[0] - at).min(), abs=1e-6)


def test_one_recording_gives_the_same_clips_from_mp4_and_webm(shared: Path) -> None:
    """Under one key, that is: from it is drawn where they begin."""
    one, other = (read(shared / "video" / "mdn" / name, videos(0.5, seconds=True), "rabbit") for name in MDN)
    assert [item.key.partition("#")[2] for item in one] == [item.key.partition("#")[2] for item in other]
    assert len(clips(one)) == len(clips(other)) >= 3
    for left, right in zip(clips(one), clips(other), strict=True):
        assert np.abs(left.times - right.times).max() < 1 / 30
        assert np.abs(left.frames.astype(int) - right.frames).mean() < 12


MDN = ("rabbit320.mp4", "rabbit320.webm")


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv"])
@pytest.mark.parametrize("seconds", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_a_large_file_is_read_in_pieces(
    name: str, seconds: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clips of the pieces are those of the whole, also those that cross from one piece to the next."""
    path = write(tmp_path / name, [counted(i) for i in range(500)], FORMATS[name][0], g="25")
    reader = videos(0.19, seconds=True) if seconds else videos(7)
    whole = read(path, reader)
    monkeypatch.setattr("pseudolabel.readers.video.reader.EXTENT_BYTES", path.stat().st_size // 5)
    extents = list(reader.scan(path.name, str(path), path.stat().st_size))
    assert len(extents) == 5
    assert sum(extent.weight for extent in extents) == pytest.approx(path.stat().st_size, rel=0.01)
    parts = [list(reader.read([extent], ALL)) for extent in extents]
    assert all(parts)
    items = [item for part in parts for item in part]
    for clip in clips(items):
        assert [number(frame) for frame in clip.frames] == (clip.times * 25).round().astype(int).tolist()
    assert [item.key for item in items] == [item.key for item in whole]
    for one, other in zip(clips(items), clips(whole), strict=True):
        assert np.array_equal(one.frames, other.frames)
    borders = [extent.start / 1e6 for extent in extents[1:]]
    crossed = [border for border in borders if any(c.times[0] < border <= c.times[-1] for c in clips(items))]
    assert crossed


def test_a_large_film_is_one_extent_where_a_piece_could_hold_no_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "a.mp4", [counted(i) for i in range(500)], g="25")
    monkeypatch.setattr("pseudolabel.readers.video.reader.EXTENT_BYTES", path.stat().st_size // 5)
    for options, pieces in (({}, 5), ({"every_seconds": 3}, 1), ({"clips_per_video": 2}, 1)):
        for reader in (videos(0.2, seconds=True, **options), videos(5, **options)):
            extents = list(reader.scan("a.mp4", str(path), path.stat().st_size))
            assert len(extents) == pieces
            assert clips(list(reader.read(extents[:1], ALL)))


@pytest.mark.parametrize("options", [{}, {"every_seconds": 0.3}, {"clips_per_video": 4}])
@pytest.mark.parametrize("seconds", [True, False])
def test_the_first_so_many(options: dict[str, float], seconds: bool, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", FRAMES)
    reader = videos(0.2 if seconds else 5, seconds, **options)
    (extent,) = reader.scan("a.mp4", str(path), path.stat().st_size)
    whole = [item.key for item in reader.read([extent], ALL)]
    assert len(whole) >= 4
    for count in range(1, len(whole) + 2):
        cut, has = reader.first(extent, count)
        assert has == min(count, len(whole))
        assert [item.key for item in reader.read([cut], ALL)] == whole[:has]


def test_clips_may_overlap_and_share_their_frames(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", FRAMES)
    items = read(path, videos(0.2, seconds=True, every_seconds=0.08))
    first = numbers(items)[0][0]
    assert numbers(items) == [[start + step for step in (0, 5, 10, 15)] for start in range(first, 105, 2)]
    assert len({item.key for item in items}) == len(items)


# --- what is seen ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", [0, 90, 180, -90])
def test_a_turned_film_is_upright(turn: int, tmp_path: Path) -> None:
    """Turned by metadata: what was the red corner at the top left is where the container says it goes."""
    (clip, *_) = clips(read(write(tmp_path / "a.mp4", FRAMES, turn=turn), videos(count=2)))
    upright = np.rot90(clip.frames[0], -round(turn / 90))
    assert upright.shape[1] > upright.shape[0]
    assert number(upright) == round(clip.times[0] * 25)
    assert np.abs(upright[4:8, 4:16].astype(int) - (255, 0, 0)).mean() < 12
    assert np.abs(upright[-8:-4, 4:16].astype(int) - (0, 0, 255)).mean() < 12


MATRICES = [
    (1, 0, 0, 1),
    (-1, 0, 0, 1),
    (-1, 0, 0, -1),
    (1, 0, 0, -1),
    (0, 1, 1, 0),
    (0, 1, -1, 0),
    (0, -1, -1, 0),
    (0, -1, 1, 0),
]


@pytest.mark.parametrize("matrix", MATRICES, ids=str)
def test_a_film_is_turned_and_mirrored_as_its_matrix_says(matrix: tuple[int, ...], tmp_path: Path) -> None:
    """(x, y) is shown at (a x + c y, b x + d y): where red and blue go, that were at the top and bottom left."""
    path = write(tmp_path / "a.mp4", FRAMES[:20])
    data = bytearray(path.read_bytes())
    a, b, c, d = matrix
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    (shown, _), _ = clips(read(path, videos(count=2)))[0]
    for (x, y), colour in (((-1, -1), (255, 0, 0)), ((-1, 1), (0, 0, 255))):
        across, down = a * x + c * y, b * x + d * y
        height, width = shown.shape[:2]
        seen = shown[6 if down < 0 else height - 6, 6 if across < 0 else width - 6]
        assert np.abs(seen.astype(int) - colour).max() < 40


def test_rotation_is_that_of_the_players(shared: Path) -> None:
    """The pictures of decord's turned films, beside OpenCV's, which turns them as well."""
    import cv2

    for turn in ("0", "90", "180", "270"):
        path = shared / "video" / "hard" / "decord" / f"video_{turn}.mov"
        seen = cv2.VideoCapture(str(path)).read()[1][..., ::-1]
        (clip,) = clips(read(path, videos(1, count=3, short=min(seen.shape[:2]))))
        assert clip.frames[0].shape == seen.shape
        assert np.abs(clip.frames[0].astype(int) - seen).mean() < 2


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    path = tmp_path / "wide.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.sample_aspect_ratio = 2
        for image in FRAMES[:40]:
            out.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        out.mux(stream.encode(None))
    assert clips(read(path))[0].frames.shape[1:3] == (HEIGHT, 2 * WIDTH)


def test_what_is_clear_is_white() -> None:
    image = np.zeros((64, 64, 4), np.uint8)
    image[:, 32:] = (200, 10, 10, 255)
    shown = FrameConverter(64)(av.VideoFrame.from_ndarray(image, format="rgba"))
    assert shown[:, :30].min() == 255
    assert np.abs(shown[:, 34:].astype(int) - (200, 10, 10)).max() <= 2


# --- what is broken --------------------------------------------------------------------------------------------------


def test_a_header_that_lies(tmp_path: Path) -> None:
    """An AVI that says it has ten times its frames, an MP4 that says it lasts a tenth and one ten times as long."""
    path = write(tmp_path / "a.avi", FRAMES, "mpeg4")
    data = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(tag) + offset
        assert struct.unpack_from("<I", data, at)[0] in (120, 0, len(FRAMES))
        struct.pack_into("<I", data, at, 1200)
    path.write_bytes(data)
    true = numbers(read(write(tmp_path / "b.mp4", FRAMES)))
    assert numbers(read(path, key="b.mp4")) == true
    for factor in (0.1, 10):
        data = bytearray((tmp_path / "b.mp4").read_bytes())
        for tag, offset in ((b"mvhd", 4 + 16), (b"tkhd", 4 + 20), (b"mdhd", 4 + 16)):
            at = data.index(tag) + offset
            struct.pack_into(">I", data, at, int(struct.unpack_from(">I", data, at)[0] * factor))
        (tmp_path / "c.mp4").write_bytes(data)
        assert numbers(read(tmp_path / "c.mp4", key="b.mp4")) == true


def test_a_header_that_promises_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four times as long, by its header: pieces begin with the key frames there are."""
    path = write(tmp_path / "a.mp4", FRAMES, g="10")
    data = bytearray(path.read_bytes())
    at = data.index(b"mvhd") + 20
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] * 4)
    at = data.index(b"tkhd") + 24
    struct.pack_into(">I", data, at, struct.unpack_from(">I", data, at)[0] * 4)
    path.write_bytes(data)
    whole = read(path, videos(0.2, seconds=True))
    monkeypatch.setattr("pseudolabel.readers.video.reader.EXTENT_BYTES", path.stat().st_size // 8)
    items = read(path, videos(0.2, seconds=True))
    assert [item.key for item in items] == [item.key for item in whole]


@pytest.mark.parametrize("name", ["a.mp4", "b.mkv", "i.avi", "e.ts"])
def test_what_is_before_the_cut_of_a_truncated_file_is_used(name: str, tmp_path: Path) -> None:
    path = write(tmp_path / name, [counted(i) for i in range(300)], FORMATS[name][0], g="25")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    items = read(path, videos(0.2, seconds=True))
    assert 5 <= len(clips(items)) <= 12
    for clip in clips(items):
        assert [number(frame) for frame in clip.frames] == (clip.times * 25).round().astype(int).tolist()


def test_damage_goes_to_the_next_key_frame_and_no_further(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mkv", [counted(i) for i in range(300)], "libx264", g="50")
    with av.open(str(path)) as container:
        places = {packet.pts // 40: (packet.pos, packet.size) for packet in container.demux(video=0) if packet.size}
    data, (at, size) = bytearray(path.read_bytes()), places[115]
    data[at + 20 : at + size] = bytes(255 - byte for byte in data[at + 20 : at + size])
    path.write_bytes(data)
    items = read(path, videos(0.2, seconds=True))
    for clip in clips(items):
        assert [number(frame) for frame in clip.frames] == (clip.times * 25).round().astype(int).tolist()
    lost = [item for item in items if isinstance(item, Skipped)]
    assert 1 <= len(lost) <= 3
    assert all("does not decode" in item.reason and item.unusable for item in lost)
    assert all(115 / 25 - 0.62 < begin(item) < 6.02 for item in lost), "they show a frame from 115 to 149"


def test_one_flipped_bit_is_found_or_harmless(tmp_path: Path) -> None:
    """Damage that H.264 could paint over is not painted over: no frame passes for another."""
    path, rng = write(tmp_path / "a.mp4", [counted(i) for i in range(150)], "libx264", g="30"), np.random.default_rng(8)
    whole = path.read_bytes()
    lost = 0
    for _ in range(20):
        data = bytearray(whole)
        data[int(rng.integers(len(data) // 3, len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)
        items = read(path, videos(0.2, seconds=True))
        lost += len(reasons(items))
        for clip in clips(items):
            assert [number(frame) for frame in clip.frames] == (clip.times * 25).round().astype(int).tolist()
    assert lost


def test_an_empty_packet_ends_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mov", FRAMES, "mjpeg")
    whole = read(path)
    data = bytearray(path.read_bytes())
    sizes = data.index(b"stsz") + 16
    struct.pack_into(">I", data, sizes + 4 * 60, 0)
    path.write_bytes(data)
    items = read(path)
    assert len(items) == len(whole) >= 2, "what comes behind it is used, or said to be lost"
    assert numbers(items)[0] == numbers(whole)[0]


def test_a_clock_that_goes_back_ends_the_film_and_is_told(tmp_path: Path) -> None:
    """Two transport streams, one behind the other, as cameras in cars write them."""
    parts = [write(tmp_path / f"{i}.ts", [counted(100 * i + k) for k in range(100)], "mpeg2video") for i in (1, 2)]
    (tmp_path / "both.ts").write_bytes(b"".join(part.read_bytes() for part in parts))
    items = read(tmp_path / "both.ts")
    first = numbers(items)[0][0]
    assert 112 <= first < 145
    assert numbers(items) == [[start + step for step in (0, 8, 16, 24)] for start in range(first, 176, 32)]
    assert reasons(items) == ["cannot be read from here on: the timestamps go back by 4 s"]


def test_the_film_is_read_and_not_its_thumbnail(tmp_path: Path) -> None:
    path = tmp_path / "thumb.mkv"
    with av.open(str(path), "w") as out:
        streams = [out.add_stream(codec, rate=25) for codec in ("mjpeg", "libx264")]
        for stream, layout in zip(streams, ("yuvj420p", "yuv420p"), strict=True):
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, layout
        for i, image in enumerate(FRAMES):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            for stream in streams[i > 0 :]:
                frame.pts = None
                out.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
        for stream in streams:
            out.mux(stream.encode(None))
    items = read(path)
    assert len(clips(items)) >= 2
    assert stamped(items)


def test_one_frame_is_no_clip(tmp_path: Path) -> None:
    (item,) = read(write(tmp_path / "one.mp4", FRAMES[:1]))
    assert isinstance(item, Skipped)
    assert (item.unusable, item.reason.partition("; give longer")[0]) == (
        False,
        "1 frames in 0.00 s, a clip spans 24 frames",
    )


def test_a_frame_shown_too_long_is_filtered(tmp_path: Path) -> None:
    times = [*np.arange(30) / 25, *(3 + np.arange(90) / 25)]
    items = read(write(tmp_path / "still.mkv", FRAMES, times=times), videos(0.2, seconds=True))
    assert "no new frame for 0.2 s after 1.16 s; give a longer --gap-seconds" in reasons(items)
    assert not any(item.unusable for item in items if isinstance(item, Skipped))


NOT = {
    "empty.mp4": (b"", "empty file"),
    "text.mp4": (b"no film, only words\n" * 50, "not a video that libav can read"),
    "list.mp4": (
        b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "not a video that libav can read",
    ),
    "concat.mkv": (b"ffconcat version 1.0\nfile secret.ts\n", "not a video that libav can read"),
}


@pytest.mark.parametrize("name", NOT)
def test_what_is_no_film_is_skipped(name: str, tmp_path: Path) -> None:
    """Least of all a list that names other files."""
    write(tmp_path / "secret.ts", FRAMES)
    (tmp_path / name).write_bytes(NOT[name][0])
    (item,) = read(tmp_path / name)
    assert isinstance(item, Skipped)
    assert item.unusable
    assert item.reason.startswith(NOT[name][1])


def test_a_frame_too_small_or_too_long_is_skipped(tmp_path: Path) -> None:
    for i, (height, width) in enumerate([(16, 64), (32, 640)]):
        path = write(tmp_path / f"{i}.mkv", [np.full((height, width, 3), 9 * k, np.uint8) for k in range(28)], "mpeg4")
        (item,) = read(path, videos(1))[:1]
        assert isinstance(item, Skipped)
        assert f"frames of {width} x {height} pixels" in item.reason


def test_a_fault_of_the_disk_is_none_of_the_films(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, good = write(tmp_path / "a.mkv", [counted(i) for i in range(500)], "mjpeg"), FaultRecordingFile.read

    def failing(self: FaultRecordingFile, count: int) -> bytes:
        if self.tell() > 300_000:
            self.fault = OSError(errno.EIO, "Input/output error")
            return b""
        return good(self, count)

    monkeypatch.setattr(FaultRecordingFile, "read", failing)
    with pytest.raises(OSError, match="Input/output error"):
        read(path)


def test_a_file_gone_is_skipped_and_a_folder_gone_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (item,) = videos().read([Extent("a.mp4", str(tmp_path / "there" / "a.mp4"), 0, None, 9)], ALL)
    assert isinstance(item, Skipped)
    with pytest.raises(FileNotFoundError):
        list(videos().read([Extent("a.mp4", str(tmp_path / "gone" / "a.mp4"), 0, None, 9)], ALL))


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(UserError, match="give one of them"):
        VideoOptions(gap=3, gap_seconds=0.1)
    with pytest.raises(UserError, match="give one of them"):
        VideoOptions(every_seconds=3, clips_per_video=1)


HARD = {  # reason, or how many clips of 2 frames, 1 apart, there are at the least
    "decord/corrupted.mp4": 10,
    "decord/unordered.mov": 1,
    "decord/video_90.mov": 1,
    "exoplayer/avi_sample.avi": 40,
    "exoplayer/flv_sample.flv": 7,
    "exoplayer/mkv_full_blocks.mkv": "no video stream, only subtitle",
    "exoplayer/mkv_sample.mkv": 7,
    "exoplayer/mp4_dolbyVision-hdr.MOV": "HDR or wide gamut (HLG, BT.2020) is not read",
    "exoplayer/mp4_sample_ac3.mp4": "no video stream, only audio",
    "exoplayer/mp4_sample_android_slow_motion.mp4": 3,
    "exoplayer/mp4_sample_fragmented_seekable.mp4": 7,
    "exoplayer/mp4_sample_mdat_too_long.mp4": 7,
    "exoplayer/mp4_sample_partially_fragmented.mp4": 7,
    "exoplayer/mp4_sample_with_color_info.mp4": "HDR or wide gamut (HLG, BT.2020) is not read",
    "exoplayer/ts_sample_scte35.ts": 1,
    "exoplayer/vp9_bear-vp9.webm": 33,
    "exoplayer/vp9_invalid-bitstream.webm": "does not decode",
    "moviepy/bitmap.mp4": "frames of 1 x 1 pixels",
    "moviepy/no_duration.webm": 33,
    "moviepy/transparent.webm": 67,
    "moviepy/video_with_failing_audio.mp4": 133,
    "torchcodec/av1_video.mkv": 55,
    "torchcodec/h264_10bits.mp4": 7,
    "torchcodec/h265_video.mp4": 2,
}


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not present")
@pytest.mark.parametrize("name", HARD)
def test_hard_films_are_used_or_skipped_with_a_reason(name: str) -> None:
    folder = SHARED / "video" / ("" if name.split("/")[0] in ("moviepy", "torchcodec") else "hard")
    items, expected = read(folder / name, videos(1, count=2, short=32)), HARD[name]
    if isinstance(expected, str):
        assert not clips(items)
        assert all(expected in reason for reason in reasons(items))
        assert items
    else:
        assert len(clips(items)) >= expected


def test_a_film_that_asks_for_more_memory_than_there_is(tmp_path: Path) -> None:
    """It says more of the film than of the machine, on which the next film is read."""
    path = reels.write(tmp_path / "a.mp4", [reels.counted(i) for i in range(5)])
    data = path.read_bytes()
    path.write_bytes(over(data, data.index(b"stts") + 8, b"\x7f\xff\xff\xff"))
    with pytest.raises(UnusableSample, match="needs more memory than is available"):
        VideoFile(str(path))
