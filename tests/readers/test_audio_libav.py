"""Sound that libsndfile does not read, or not all of it: compared with a plain decode by libav."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import recordings
import soundfile

from pseudolabel.contracts import Sample, Skipped, Split, or_skipped
from pseudolabel.readers.audio import reader as audio_reader
from pseudolabel.readers.audio.decode import open_sound
from pseudolabel.readers.audio.flac import WholeSound
from pseudolabel.readers.audio.reader import AudioOptions, AudioReader
from pseudolabel.tasks.cluster import Cluster

ALL = Split("train", 0.0, 1.0)


def read(path: Path, **options: object) -> list[Sample | Skipped]:
    """What the reader makes of the first channel of a file, at its own rate."""
    reader = AudioReader(AudioOptions(**{"min_seconds": 0.0, "seconds": 2.0, "channels": "1", **options}))  # type: ignore[arg-type]
    return list(reader.read(reader.scan(path.name, str(path), path.stat().st_size), ALL))


def wave(items: list[Sample | Skipped]) -> np.ndarray:
    return np.concatenate([item.payload.wave for item in items if isinstance(item, Sample)])


def reasons(items: list[Sample | Skipped]) -> list[str]:
    return [item.reason for item in items if isinstance(item, Skipped)]


def assert_same(items: list[Sample | Skipped], path: Path) -> None:
    """All utterances together are what libav decodes, to the sample. Decoders of Opus differ by up to 0.001."""
    expected = np.rint(recordings.decode(path)[:, 0] * 32768).clip(-32768, 32767)
    assert not reasons(items)
    assert len(wave(items)) == len(expected)
    assert np.abs(wave(items) - expected).max() <= (40 if path.suffix == ".opus" else 1)


# --- more than libsndfile reads --------------------------------------------------------------------------------------


def test_an_mp3_without_a_length_is_read_to_its_last_byte(tmp_path: Path) -> None:
    """libsndfile takes the bit rate of the quiet start for that of the whole."""
    options = {"flags": "+qscale", "global_quality": str(6 * 118)}
    bare = {"write_xing": "0", "id3v2_version": "0"}
    path = recordings.write(
        tmp_path / "a.mp3",
        recordings.speech(44_100, 13.95),
        44_100,
        "libmp3lame",
        codec_options=options,
        format_options=bare,
    )
    assert soundfile.info(path).duration < 10, "else this tests nothing"
    items = read(path, rate=44_100, seconds=3.0)
    assert_same(items, path)
    assert len(wave(items)) / 44_100 == pytest.approx(13.95, abs=0.1)
    assert [item.key for item in items][1:3] == ["a.mp3#132300-264600@1", "a.mp3#264600-396900@1"], "no seam"


@pytest.mark.parametrize("kind", ["mp3", "ogg", "opus", "flac"])
def test_joined_streams_are_read_to_the_last(kind: str, tmp_path: Path) -> None:
    path, rate = tmp_path / f"joined.{kind}", 48_000
    how = {"opus": {"format": "OGG", "subtype": "OPUS"}}.get(kind, {})
    for number, seconds in enumerate((3.3, 2.6)):
        soundfile.write(tmp_path / f"{number}.{kind}", recordings.speech(rate, seconds, seed=number), rate, **how)
    path.write_bytes(b"".join((tmp_path / f"{number}.{kind}").read_bytes() for number in (0, 1)))
    items = read(path, rate=rate)
    assert_same(items, path)
    assert len(wave(items)) / rate == pytest.approx(5.9, abs=0.1)


def test_a_joined_flac_is_not_cut_where_seeking_may_lead_astray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_reader, "EXTENT_BYTES", 30_000)
    reader = AudioReader(AudioOptions(seconds=2.0, min_seconds=0.0))
    for number, seconds in enumerate((9.3, 4.2)):
        soundfile.write(tmp_path / f"{number}.flac", recordings.speech(16_000, seconds, 1, number), 16_000)
    short, long = ((tmp_path / f"{number}.flac").read_bytes() for number in (1, 0))
    for name, data, cut in (("whole", long, True), ("first", long + short, False), ("last", short + long, False)):
        (path := tmp_path / f"{name}.flac").write_bytes(data)
        extents = list(reader.scan(path.name, str(path), len(data)))
        assert (len(extents) > 1) == cut
        assert_same([item for extent in extents for item in reader.read([extent], ALL)], path)


@pytest.mark.parametrize(("kind", "said"), [("mp3", "14.1 s are left"), ("ogg", "s at the bit rate so far")])
def test_what_is_left_over_is_reported_with_its_seconds(kind: str, said: str, tmp_path: Path) -> None:
    """A second stream of another rate and number of channels, of 14 s."""
    soundfile.write(tmp_path / f"0.{kind}", recordings.speech(44_100, 4.0), 44_100)
    soundfile.write(tmp_path / f"1.{kind}", recordings.speech(22_050, 14.0, 1), 22_050)
    path = tmp_path / f"a.{kind}"
    path.write_bytes(b"".join((tmp_path / f"{number}.{kind}").read_bytes() for number in (0, 1)))
    *used, left = read(path, rate=44_100)
    assert len(wave(used)) / 44_100 == pytest.approx(4.0, abs=0.03)
    assert isinstance(left, Skipped)
    assert left.key == f"a.{kind}#{len(wave(used))}-"
    assert said in left.reason


@pytest.mark.parametrize(
    ("name", "codec"), [("a.aac", "aac"), ("a.ts", "aac"), ("a.ac3", "ac3"), ("a.mp2", "mp2"), ("a.flac", "flac")]
)
def test_the_seconds_of_another_rate_are_counted_at_that_rate(name: str, codec: str, tmp_path: Path) -> None:
    """Also where libav goes on to count at the first one."""
    parts = []
    for rate, seconds in ((32_000, 3.0), (48_000, 5.0)):
        path = recordings.write(tmp_path / name, recordings.speech(rate, seconds), rate, codec)
        parts.append(path.read_bytes())
    path.write_bytes(b"".join(parts))
    *used, left = read(path, rate=32_000)
    assert len(wave(used)) / 32_000 == pytest.approx(3.0, abs=0.1)
    assert isinstance(left, Skipped)
    told = re.fullmatch(r"the sample rate changes from 32000 to 48000 Hz, (\d.\d) s are left", left.reason)
    assert told, left.reason
    assert float(told[1]) == pytest.approx(5.0, abs=0.1)


def test_a_tag_after_the_sound_changes_nothing(tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "a.mp3", recordings.speech(44_100, 3.0), 44_100)
    before = read(path)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    after = read(path)
    assert not reasons(after)
    assert (wave(before) == wave(after)).all()


# --- formats of libav ------------------------------------------------------------------------------------------------

FORMATS = {
    "a.m4a": ("aac", {}), "cover.m4b": ("aac", {"picture": "cover", "format": "mp4"}), "alac.m4a": ("alac", {}),
    "parts.m4a": ("aac", {"format": "mp4", "format_options": {"movflags": "frag_keyframe+empty_moov"}}),
    "a.aac": ("aac", {"format": "adts"}), "a.mka": ("flac", {"format": "matroska"}),
    "a.weba": ("libopus", {"format": "webm"}),
    "a.webm": ("libopus", {}), "film.webm": ("libopus", {"picture": "film"}), "a.wma": ("wmav2", {}),
    "a.ac3": ("ac3", {}), "a.eac3": ("eac3", {}), "film.mp4": ("aac", {"picture": "film"}),
    "film.mkv": ("ac3", {"picture": "film"}), "film.mov": ("pcm_s16le", {"picture": "film"}),
    "alac.caf": ("alac", {}), "flac.oga": ("flac", {"format": "ogg"}), "a.tta": ("tta", {}), "a.wv": ("wavpack", {}),
    "a.ts": ("aac", {}), "film.avi": ("ac3", {"picture": "film"}), "a.flv": ("aac", {}), "a.3gp": ("aac", {}),
    "misnamed.mp3": ("aac", {"format": "mp4"}), "misnamed.wav": ("libopus", {"format": "webm"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_sound_in_other_containers_is_read_to_the_sample(name: str, tmp_path: Path) -> None:
    codec, how = FORMATS[name]
    path = recordings.write(tmp_path / name, recordings.speech(48_000, 4.3), 48_000, codec, **how)
    items = read(path, rate=48_000)
    assert_same(items, path)
    assert len(wave(items)) / 48_000 == pytest.approx(4.3, abs=0.06)


@pytest.mark.parametrize("name", ["a.m4a", "a.mka", "a.aac", "a.ac3", "a.wma", "film.webm"])
def test_damage_is_skipped_and_what_follows_is_used(name: str, tmp_path: Path) -> None:
    codec, how = FORMATS[name]
    path = recordings.write(tmp_path / name, recordings.speech(48_000, 12.3), 48_000, codec, **how)
    sound, data = wave(read(path, rate=48_000)), bytearray(path.read_bytes())
    data[len(data) // 3 : len(data) // 3 + 2000] = bytes(2000)
    path.write_bytes(data)
    items = read(path, rate=48_000)
    (place,) = (index for index, item in enumerate(items) if isinstance(item, Skipped))
    assert items[place].reason.startswith(("does not decode: libav", "sound is missing"))
    assert re.search(r", \d\.\d\d s are lost, by the (bytes|timestamps)$", items[place].reason)
    before = wave(items[:place])
    sure = len(before) - 4800 * (name == "film.webm")  # Opus has no checksum: a packet cut short may decode
    assert (before[:sure] == sound[:sure]).all()
    assert wave(items[place:]).size, "the sound goes on"
    assert len(before) + len(wave(items[place:])) < len(sound)


# --- sound that is lost ----------------------------------------------------------------------------------------------


def ogg_pages(data: bytes) -> list[int]:
    """The places of the pages; of noise, which "OggS" is hardly in."""
    return [found.start() for found in re.finditer(b"OggS", data)]


def flac_frames(data: bytes) -> list[int]:
    """The places of frames of 4096 samples at 16 kHz."""
    return [found.start() for found in re.finditer(rb"\xff\xf8\xc5.", data, re.DOTALL)]


def without_pages(data: bytes) -> bytes:
    places = ogg_pages(data)
    return data[: places[len(places) // 2]] + data[places[len(places) // 2 + 2] :]


def with_a_bad_checksum(data: bytes) -> bytes:
    place = ogg_pages(data)[len(ogg_pages(data)) // 2] + 300
    return data[:place] + bytes(60) + data[place + 60 :]


def without_pages_but_zeros(data: bytes) -> bytes:
    return zeros(data, ogg_pages(data)[len(ogg_pages(data)) // 2], 9000)


def without_frames(data: bytes) -> bytes:
    places = flac_frames(data)
    return data[: places[15]] + data[places[22] :]


def without_clusters(data: bytes) -> bytes:
    places = [found.start() for found in re.finditer(rb"\x1f\x43\xb6\x75", data)]
    return data[: places[1]] + data[places[2] :]


def zeros(data: bytes, place: int = 0, count: int = 3000) -> bytes:
    place = place or len(data) // 2
    return data[:place] + bytes(count) + data[place + count :]


def place_in(whole: np.ndarray, piece: np.ndarray) -> int:
    """Return where a piece lies in the whole, by cross-correlation."""
    size = 1 << (len(whole) + len(piece)).bit_length()
    alike = np.fft.irfft(np.fft.rfft(whole, size) * np.conj(np.fft.rfft(piece.astype(np.float64), size)), size)
    return int(alike[: len(whole)].argmax())


LOSSES = {
    "vorbis.ogg": (without_pages, with_a_bad_checksum, without_pages_but_zeros),
    "opus.ogg": (without_pages, with_a_bad_checksum, without_pages_but_zeros),
    "a.flac": (without_frames, zeros), "a.mp3": (zeros,), "a.aac": (zeros,), "a.mka": (without_clusters, zeros),
    "a.m4a": (zeros,), "a.ts": (zeros,),
}  # fmt: skip


@pytest.mark.parametrize("name", LOSSES)
def test_sound_before_and_after_a_loss_is_not_joined(name: str, tmp_path: Path) -> None:
    """What is used is what libav decodes of the whole file at that place, and the seconds that are lost are told."""
    rate, path = 48_000 if name == "opus.ogg" else 16_000, tmp_path / name
    sound = recordings.speech(rate, 8.3, 1) + recordings.speech(rate, 8.3, 1, 1)
    if name.endswith((".ogg", "flac", ".mp3")):
        soundfile.write(path, sound / 2, rate, subtype="OPUS" if name == "opus.ogg" else None)
    else:
        options = {"cluster_time_limit": "4000"} if name == "a.mka" else {}
        codec = "flac" if name == "a.mka" else "aac"
        recordings.write(path, sound / 2, rate, codec, format=FORMATS[name][1].get("format"), format_options=options)
    data, whole = path.read_bytes(), np.rint(recordings.decode(path)[:, 0] * 32768)
    for damage in LOSSES[name]:
        path.write_bytes(damage(data))
        items = read(path, rate=rate, seconds=60.0)
        first, lost, last = items
        assert isinstance(lost, Skipped)
        before, after = first.payload.wave, last.payload.wave
        place, blurred = place_in(whole, after), rate // 5  # a lossy codec's first sounds after a loss
        after = after[: len(whole) - place]  # without the padding, which nothing tells where frames are lost
        assert np.abs(before - whole[: len(before)])[: -blurred or None].max() <= 40, damage
        assert np.abs(after - whole[place : place + len(after)])[blurred : -rate // 10].max() <= 40, damage
        told = re.search(r", (\d\.\d\d) s are lost, by the (bytes|timestamps)$", lost.reason)
        assert told, lost.reason
        begin, until = map(int, lost.key.partition("#")[2].split("-"))
        assert begin == len(before)
        assert last.key.startswith(f"{name}#{until}-")
        assert (until - begin) / rate == pytest.approx(float(told[1]), abs=0.006)
        assert until == pytest.approx(place, abs=2048 if told[2] == "timestamps" else rate // 4)


def test_a_flac_is_decoded_as_a_whole_only_if_all_of_it_is_there(tmp_path: Path) -> None:
    """A whole one gives the samples of libav. Whatever is lost, doubled, swapped, false or more is libav's to judge."""
    path = tmp_path / "a.flac"
    for channels in (1, 2):
        soundfile.write(path, recordings.speech(16_000, 4.0, channels), 16_000)
        with closing(open_sound(str(path))) as sound:
            assert isinstance(sound, WholeSound)
            first, rest = sound.read(40_000)[0], sound.read(40_000)[0]
        assert (np.concatenate([first, rest]) == recordings.decode(path)).all()
    soundfile.write(path, recordings.speech(16_000, 4.0, 1), 16_000)
    data = path.read_bytes()
    a, b, c = flac_frames(data)[4:7]
    soundfile.write(path, recordings.speech(16_000, 4.0, 1), 16_000, "PCM_24")
    for damaged in (
        path.read_bytes(), data[:a] + data[b:], data[:a] + data[b:c] + data[a:b] + data[c:], data[:b] + data[a:],
        data + data, data + data[a:b], data + bytes(5000), data[:-9], data[: flac_frames(data)[-1]],
        zeros(data, b + 50), zeros(data, 26, 16), zeros(data, 22, 4), data[:42],
        *(data[:24] + length + data[25:] for length in (b"\xff", b"\xf0")),
    ):  # fmt: skip
        path.write_bytes(damaged)
        sound = or_skipped(lambda: open_sound(str(path)))
        assert not isinstance(sound, WholeSound)
        if not isinstance(sound, Skipped):
            sound.close()


def test_any_extent_of_a_flac_that_lost_frames_is_at_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, recordings.speech(16_000, 24.0, 1), 16_000)
    whole = np.rint(recordings.decode(path)[:, 0] * 32768)
    path.write_bytes(without_frames(path.read_bytes()))
    monkeypatch.setattr(audio_reader, "EXTENT_BYTES", 50_000)
    reader = AudioReader(AudioOptions(seconds=2.0, min_seconds=0.0))
    extents = list(reader.scan(path.name, str(path), path.stat().st_size))
    assert len(extents) > 3
    used = np.zeros(len(whole), int)
    for extent in extents:
        for item in reader.read([extent], ALL):
            begin, end = map(int, item.key.partition("#")[2].split("-"))
            if isinstance(item, Sample):
                assert (item.payload.wave == whole[begin:end]).all()
                used[begin:end] += 1
            else:
                assert item.reason.startswith("sound is missing, ")
    assert set(used.tolist()) == {0, 1}
    assert (used == 0).sum() == 7 * 4096


def test_joined_files_of_an_encoder_with_tags_are_read_to_the_last(tmp_path: Path) -> None:
    """Each MP3 begins with an ID3 tag and a frame that says how many there are."""
    for number, seconds in enumerate((3.3, 2.6)):
        speech = recordings.speech(16_000, seconds, 1, number)
        recordings.write(tmp_path / f"{number}.mp3", speech, 16_000, "libmp3lame")
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join((tmp_path / f"{number}.mp3").read_bytes() for number in (0, 1)))
    items = read(path, seconds=60.0)
    assert len(wave(items)) / 16_000 == pytest.approx(5.9, abs=0.15)
    (_, between, last) = items
    assert isinstance(between, Skipped)
    second, used = np.rint(recordings.decode(tmp_path / "1.mp3")[:, 0] * 32768), last.payload.wave
    begin = place_in(used, second)
    assert np.abs(used[begin + 5000 :][:30_000] - second[5000:35_000]).max() <= 1


def test_a_flac_joined_with_one_of_another_rate_tells_its_seconds_once(tmp_path: Path) -> None:
    for rate in (16_000, 32_000):
        soundfile.write(tmp_path / f"{rate}.flac", recordings.speech(rate, 3.0), rate)
    path = tmp_path / "a.flac"
    path.write_bytes((tmp_path / "16000.flac").read_bytes() + (tmp_path / "32000.flac").read_bytes())
    assert reasons(read(path)) == ["the sample rate changes from 16000 to 32000 Hz, 3.0 s are left"]


def test_a_wav_whose_header_says_that_it_is_empty_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, recordings.speech(16_000, 3.0, 1), 16_000)
    whole, data = soundfile.read(path, dtype="int16")[0], path.read_bytes()
    path.write_bytes(data[:40] + bytes(4) + data[44:])
    assert not soundfile.info(path).frames, "else this tests nothing"
    items = read(path)
    assert not reasons(items)
    assert (wave(items) == whole).all()


@pytest.mark.parametrize("name", ["a.m4a", "a.mp4", "a.mov"])
def test_a_truncated_file_says_that_its_index_is_missing(name: str, tmp_path: Path) -> None:
    path = recordings.write(tmp_path / name, recordings.speech(48_000, 3.0), 48_000, "aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    (reason,) = reasons(read(path))
    assert reason.startswith("its index (the moov box) is missing: ")


@pytest.mark.parametrize("kind", ["flac", "mp3"])
def test_an_end_before_the_length_in_the_header_is_told(kind: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, recordings.speech(16_000, 12.0, 1), 16_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    items = read(path)
    (reason,) = reasons(items)
    told = re.search(r"the file ends (\d\.\d\d) s before the length in its header$", reason)
    assert told, reason
    assert float(told[1]) + len(wave(items)) / 16_000 == pytest.approx(12.0, abs=0.05)


def test_a_file_that_ends_early_is_used_and_reported(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mka", recordings.speech(48_000, 12.3), 48_000, "aac")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    items = read(path)
    assert [reason.endswith("before the length in its header") for reason in reasons(items)] == [True]
    assert 4 < len(wave(items)) / 16_000 < 8


def test_matroska_sound_that_begins_late_is_whole(tmp_path: Path) -> None:
    """Its header counts from 0; PyAV decodes as many frames as were written."""
    wave_written = recordings.speech(48_000, 3.0)
    path = recordings.write(tmp_path / "a.mka", wave_written, 48_000, "libopus", first=48_000)
    assert len(recordings.decode(path)) >= len(wave_written)
    items = read(path)
    assert not reasons(items)
    assert len(wave(items)) / 16_000 == pytest.approx(3.0, abs=0.05)


def test_a_film_without_sound_is_left_out(tmp_path: Path) -> None:
    import reels

    path = reels.write(tmp_path / "a.mp4", [reels.counted(number)[::2, ::2] for number in range(5)])
    (item,) = read(path)
    assert isinstance(item, Skipped)
    assert (item.unusable, item.reason) == (False, "no audio stream, only video")


def test_the_first_samples_of_a_file_whose_header_says_too_little(tmp_path: Path) -> None:
    for number in (0, 1):
        soundfile.write(tmp_path / f"{number}.mp3", recordings.speech(44_100, 4.0, seed=number), 44_100)
    path = tmp_path / "a.mp3"
    path.write_bytes(b"".join((tmp_path / f"{number}.mp3").read_bytes() for number in (0, 1)))
    reader = AudioReader(AudioOptions(seconds=2.0, min_seconds=0.0))
    (extent,) = reader.scan("a.mp3", str(path), 9)
    for asked in (1, 3):
        cut, count = reader.first(extent, asked)
        assert count == len(list(reader.read([cut], ALL))) <= asked


@pytest.mark.parametrize(
    ("names", "modality"),
    [
        (["a.webm"], "sound"),
        (["a.webm", "film.webm"], "video"),
        (["a.webm", "a.m4a"], "sound"),
        (["film.mp4"], "video"),
    ],
)
def test_a_container_is_video_if_there_is_a_film_in_any(names: list[str], modality: str, tmp_path: Path) -> None:
    for name in names:
        codec, how = FORMATS[name]
        recordings.write(tmp_path / name, recordings.speech(48_000, 1.0), 48_000, codec, **how)
    assert Cluster().resolve([tmp_path]).modality == modality
