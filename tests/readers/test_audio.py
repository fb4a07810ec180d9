"""Sounds of every kind, as utterances: what is used, at which length and rate, and what is not, and why."""

from __future__ import annotations

import errno
import io
import struct
from pathlib import Path

import numpy as np
import pytest
import recordings
import soundfile
from mutants import over
from runs import SHARED

from pseudolabel.contracts import Extent, Sample, Skipped, Split, UserError, splits
from pseudolabel.readers.audio import reader as audio_reader
from pseudolabel.readers.audio.decode import open_sound
from pseudolabel.readers.audio.flac import WholeSound
from pseudolabel.readers.audio.reader import AudioOptions, AudioReader
from pseudolabel.readers.sources.opening import FaultRecordingFile

ALL = Split("train", 0.0, 1.0)


def read(path: Path, **options: object) -> list[Sample | Skipped]:
    """What the reader makes of a file."""
    reader = AudioReader(AudioOptions(**{"min_seconds": 0.0, **options}))  # type: ignore[arg-type]
    return list(reader.read(reader.scan(path.name, str(path), path.stat().st_size), ALL))


def waves(path: Path, **options: object) -> list[np.ndarray]:
    return [item.payload.wave for item in read(path, **options) if isinstance(item, Sample)]


def tone(rate: int, seconds: float, hz: float = 440.0) -> np.ndarray:
    """(n,) float64; a little louder all the time, so that no two places are alike."""
    t = np.arange(round(rate * seconds)) / rate
    return 0.5 * np.sin(2 * np.pi * hz * t) * (0.2 + 0.8 * t / seconds)


def test_files_are_cut_into_utterances(tmp_path: Path) -> None:
    whole = (tone(16_000, 7.3) * 32767).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", whole, 16_000)
    items = read(tmp_path / "a.wav", seconds=2.0)
    assert [item.key for item in items] == [
        "a.wav#0-32000", "a.wav#32000-64000", "a.wav#64000-96000", "a.wav#96000-116800",
    ]  # fmt: skip
    assert (np.concatenate([item.payload.wave for item in items]) == whole).all(), "at its own rate nothing is changed"
    short = read(tmp_path / "a.wav", seconds=2.0, min_seconds=1.5)[-1]
    assert isinstance(short, Skipped)
    assert (short.unusable, short.reason) == (False, "1.30 s, below --min-seconds 1.5")


@pytest.mark.parametrize(("kind", "subtype"), [("wav", "PCM_24"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", None)])
@pytest.mark.parametrize("rate", [8_000, 22_050, 48_000])
def test_any_rate_becomes_the_rate_asked_for(kind: str, subtype: str | None, rate: int, tmp_path: Path) -> None:
    path = tmp_path / f"a.{kind}"
    soundfile.write(path, tone(rate, 3.0), rate, subtype)
    (item,) = read(path)
    assert isinstance(item, Sample)
    wave, heard = item.payload.wave, item.payload.heard
    assert (item.payload.rate, heard) == (16_000, rate)
    assert abs(len(wave) / 16_000 - 3) < 0.08, "MP3 has a frame or two of silence about it"
    loud = wave[16_000:32_000] / 32768
    assert np.argmax(np.abs(np.fft.rfft(loud))) == 440
    assert abs(np.abs(loud).max() - 0.5 * (0.2 + 0.8 * 2 / 3)) < 0.03


def test_channels_are_mixed_split_or_chosen(tmp_path: Path) -> None:
    left, right = tone(16_000, 1.0, 300), tone(16_000, 1.0, 500)
    soundfile.write(tmp_path / "call.wav", np.stack([left, right], 1), 16_000, "FLOAT")
    (mixed,) = waves(tmp_path / "call.wav")
    assert np.abs(mixed / 32768 - (left + right) / 2).max() < 1e-4
    both = read(tmp_path / "call.wav", channels="split")
    assert [item.key for item in both] == ["call.wav#0-16000@1", "call.wav#0-16000@2"]
    assert [np.argmax(np.abs(np.fft.rfft(wave))) for wave in waves(tmp_path / "call.wav", channels="split")] == [
        300,
        500,
    ]
    (second,) = waves(tmp_path / "call.wav", channels="2")
    assert np.abs(second / 32768 - right).max() < 1e-4
    (none,) = read(tmp_path / "call.wav", channels="3")
    assert isinstance(none, Skipped)
    assert none.reason == "has 2 channels, --channels is 3"
    (short,) = read(tmp_path / "call.wav", channels="split", min_seconds=2.0)
    assert short.count == 2, "both channels are counted"


@pytest.mark.parametrize("noise", [0.0, 1e-4, 0.05])
@pytest.mark.parametrize("offset", [0.0, 0.2])
def test_channels_that_cancel_are_left_out(noise: float, offset: float, tmp_path: Path) -> None:
    """One of two channels is inverted: of the mix no more than noise is left."""
    wave = np.stack([tone(16_000, 2.0), -tone(16_000, 2.0)], 1) + offset
    wave += noise * np.random.default_rng(0).normal(size=wave.shape)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, "FLOAT")
    (item,) = read(tmp_path / "a.wav")
    assert isinstance(item, Skipped)
    assert item.reason.startswith("the channels cancel each other: ")
    assert item.reason.endswith("; choose one with --channels")
    assert not item.unusable
    (first,) = waves(tmp_path / "a.wav", channels="1")
    assert np.abs(first / 32768 - wave[:, 0]).max() < 1e-4


def test_channels_that_cancel_in_a_part_are_left_out(tmp_path: Path) -> None:
    """One channel is inverted for some seconds. Quiet seconds, and an offset that wanders apart, count for nothing."""
    rate, rng = 16_000, np.random.default_rng(0)
    time, left = np.arange(6 * rate) / rate, 0.3 * rng.normal(size=6 * rate).clip(-2, 2)
    for name, quiet, start, stop in (
        ("half", 1, 3, 6),
        ("start", 1, 0, 1),
        ("middle", 1, 2.5, 4.5),
        ("pause", 0.2, 2, 4),
    ):
        inside = (start <= time) & (time < stop)
        loud = np.where(inside, quiet, 1) * left
        wave = np.stack([loud, np.where(inside, -loud, loud)], 1)
        soundfile.write(path := tmp_path / f"{name}.wav", wave, rate, "FLOAT")
        (item,) = read(path)
        if quiet < 1:
            assert isinstance(item, Sample)
            continue
        assert isinstance(item, Skipped)
        assert item.reason.startswith(f"the channels cancel each other from {int(np.ceil(start))} s on: ")
    drift = 0.5 * np.sin(2 * np.pi * time)
    soundfile.write(path := tmp_path / "drift.wav", np.stack([left / 4 + drift, left / 4 - drift], 1), rate, "FLOAT")
    (mixed,) = waves(path)
    assert np.abs(mixed / 32768 - left / 4).max() < 1e-4


def test_channels_that_differ_are_mixed(tmp_path: Path) -> None:
    """Also such as have little in common, and one that is inverted at half of the volume, or delayed."""
    left, rng = tone(16_000, 2.0), np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=(32_000, 6))
    for name, wave in {
        "half": np.stack([left, -left / 2], 1), "mute": np.stack([left, 0 * left], 1), "noises": noise,
        "delayed": np.stack([noise[:, 0], -np.roll(noise[:, 0], 3)], 1), "same": np.stack([left, left], 1),
    }.items():  # fmt: skip
        soundfile.write(tmp_path / f"{name}.wav", wave, 16_000, "FLOAT")
        (mixed,) = waves(tmp_path / f"{name}.wav")
        assert np.abs(mixed / 32768 - wave.mean(1)).max() < 1e-4
    soundfile.write(tmp_path / "level.wav", np.full((32_000, 2), (0.3, -0.3)), 16_000, "FLOAT")
    (silent,) = read(tmp_path / "level.wav")
    assert isinstance(silent, Skipped)
    assert silent.reason == "silent: all samples are the same"


@pytest.mark.parametrize("channels", ["mono", "0", "-1", "1.5"])
def test_bad_channels_are_refused(channels: str) -> None:
    with pytest.raises(UserError, match="type mix, split, or a number from 1"):
        AudioOptions(channels=channels)


def test_a_long_file_is_many_extents_and_any_piece_can_be_read_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audio_reader, "EXTENT_BYTES", 50_000)
    whole = (tone(16_000, 61.0) * 32767).astype(np.int16)
    for kind in ("wav", "flac"):
        path = tmp_path / f"long.{kind}"
        soundfile.write(path, whole, 16_000)
        reader = AudioReader(AudioOptions(seconds=2.0, min_seconds=0.0))
        extents = list(reader.scan(path.name, str(path), path.stat().st_size))
        assert len(extents) > 5
        assert sum(extent.weight for extent in extents) == pytest.approx(path.stat().st_size, abs=99)
        items = [item for extent in reversed(extents) for item in reader.read([extent], ALL)]
        assert all(isinstance(item, Sample) for item in items)
        starts = [int(item.key.partition("#")[2].partition("-")[0]) for item in items]
        assert sorted(starts) == list(range(0, len(whole), 32_000))
        for start, item in zip(starts, items, strict=True):
            assert (item.payload.wave == whole[start : start + 32_000]).all()
    soundfile.write(tmp_path / "long.ogg", whole / 32768, 16_000)
    assert len(list(reader.scan("long.ogg", str(tmp_path / "long.ogg"), 10**9))) == 1, (
        "no place in it is found by counting"
    )


def test_a_flac_that_is_stored_as_it_is_has_the_sound_and_nothing_else(tmp_path: Path) -> None:
    """Tags may tell what is said. Only a mono FLAC of 16 bits at `--rate` that is one utterance is stored as it is."""
    path, speech = tmp_path / "a.flac", recordings.speech(16_000, 3.0, 2)
    for channels, rate, seconds, subtype, same in (
        (1, 16_000, 15.0, "PCM_16", True),
        (1, 16_000, 2.9, "PCM_16", False),
        (2, 16_000, 15.0, "PCM_16", False),
        (1, 8_000, 15.0, "PCM_16", False),
        (1, 16_000, 15.0, "PCM_24", False),
    ):
        with soundfile.SoundFile(path, "w", rate, channels, subtype) as file:
            file.title = "what is said"
            file.write(speech[:, :channels])
        assert b"what is said" in path.read_bytes(), "else this tests nothing"
        first, *others = (item.payload for item in read(path, seconds=seconds))
        assert [bool(one.encoded) for one in (first, *others)] == [same, *(False for _ in others)]
        if same:
            (tmp_path / "b.flac").write_bytes(first.encoded)
            assert b"what" not in first.encoded
            assert (recordings.decode(tmp_path / "b.flac")[:, 0] * 32768 == first.wave).all()
            assert (soundfile.read(tmp_path / "b.flac", dtype="int16")[0] == first.wave).all()
            assert isinstance(open_sound(str(tmp_path / "b.flac")), WholeSound), "its checksum is right"


def test_damage_of_a_flac_header_that_its_checksum_does_not_cover(tmp_path: Path) -> None:
    """The MD5 is of the samples: it holds for a wrong rate, and for sizes of blocks that libav refuses."""
    path = tmp_path / "a.flac"
    soundfile.write(path, recordings.speech(16_000, 3.0, 1), 16_000, "PCM_16")
    intact, (whole,) = path.read_bytes(), waves(path)
    rates = 0
    for byte in range(8, 21):
        for bit in range(4 if byte == 20 else 0, 8):
            path.write_bytes(over(intact, byte, bytes([intact[byte] ^ 1 << bit])))
            (item,) = read(path)
            if byte >= 18:
                rates += isinstance(item, Skipped) and "the first frame 16000 Hz" in item.reason
                continue
            assert (item.payload.wave == whole).all()
            if item.payload.encoded:
                (tmp_path / "b.flac").write_bytes(item.payload.encoded)
                assert (recordings.decode(tmp_path / "b.flac")[:, 0] * 32768 == whole).all()
    assert rates == 20


def test_headers_are_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FLAC whose header promises twice as many frames, or knows of none: what decodes is used, and that it ended."""
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(16_000, 5.0), 16_000)
    data = bytearray(path.read_bytes())
    for claimed in (160_000, 0, 40_000):
        data[22:26] = (claimed & 0xFFFFFFFF).to_bytes(4, "big")  # the lower 32 bits of STREAMINFO's count
        path.write_bytes(data)
        assert sum(map(len, waves(path, seconds=1.0))) >= (80_000 if claimed != 40_000 else 40_000)
    monkeypatch.setattr(audio_reader, "EXTENT_BYTES", 20_000)
    data[22:26] = (160_000).to_bytes(4, "big")
    path.write_bytes(data)
    items = read(path, seconds=1.0)
    assert sum(isinstance(item, Sample) for item in items) == 5
    assert [item.reason for item in items if isinstance(item, Skipped)] == [
        "the file ends 5.00 s before the length in its header"
    ]


def test_what_is_no_sound_is_skipped_with_the_reason(tmp_path: Path) -> None:
    for name, wave, subtype in (
        ("silent.wav", np.zeros(32_000), "PCM_16"),
        ("level.wav", np.full(32_000, 0.25), "FLOAT"),
        ("nan.wav", np.where(np.arange(32_000) == 9, np.nan, tone(16_000, 2)), "FLOAT"),
        ("huge.wav", tone(16_000, 2) * 32768, "DOUBLE"),
        ("none.wav", np.zeros(0), "PCM_16"),
    ):
        soundfile.write(tmp_path / name, wave, 16_000, subtype)
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("This is no sound." * 100)
    reasons = {path.name: read(path)[0].reason for path in tmp_path.iterdir()}
    assert reasons == {
        "silent.wav": "silent: all samples are the same",
        "level.wav": "silent: all samples are the same",
        "nan.wav": "has samples that are NaN or infinite",
        "huge.wav": reasons["huge.wav"],
        "none.wav": "no audio in the file",
        "empty.wav": "empty file",
        "text.wav": reasons["text.wav"],
    }
    assert reasons["huge.wav"].startswith("has samples of 16")
    assert reasons["text.wav"].startswith("not audio that libsndfile can read: ")
    assert "0x" not in reasons["text.wav"], "no address in it"


def test_what_decodes_before_a_fault_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.flac"
    soundfile.write(path, tone(16_000, 6.0) + 0.01 * np.random.default_rng(0).normal(size=96_000), 16_000)
    data = bytearray(path.read_bytes())
    middle = len(data) * 2 // 3
    data[middle : middle + 3000] = bytes(3000)
    path.write_bytes(data)
    items = read(path, seconds=1.0)
    assert [item.key for item in items[:3]] == ["a.flac#0-16000", "a.flac#16000-32000", "a.flac#32000-48000"]
    (fault,) = (item for item in items if isinstance(item, Skipped))
    assert isinstance(items[-1], Sample)
    assert fault.reason == "sound is missing, 0.51 s are lost, by the timestamps", "two frames of 4096"


def test_a_fault_of_the_disk_is_none_of_the_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """libsndfile takes it for the end of the file: it must end the run, not shorten a sound."""
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(16_000, 20.0), 16_000)
    good = FaultRecordingFile.read

    def failing(self: FaultRecordingFile, count: int) -> bytes:
        if self.tell() > 100_000:
            self.fault = OSError(errno.EIO, "Input/output error")
            return b""
        return good(self, count)

    monkeypatch.setattr(FaultRecordingFile, "read", failing)
    with pytest.raises(OSError, match="Input/output error"):
        read(path, seconds=1.0)


def test_a_file_gone_is_skipped_and_a_folder_gone_ends_the_run(tmp_path: Path) -> None:
    reader = AudioReader(AudioOptions())
    (tmp_path / "there").mkdir()
    (item,) = reader.read([Extent("a.wav", str(tmp_path / "there" / "a.wav"), 0, None, 9)], ALL)
    assert isinstance(item, Skipped)
    with pytest.raises(FileNotFoundError):
        list(reader.read([Extent("a.wav", str(tmp_path / "gone" / "a.wav"), 0, None, 9)], ALL))


def test_the_first_samples_of_an_extent(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.stack([tone(16_000, 7.5)] * 2, 1), 16_000)
    for channels, counts in (("mix", {1: 1, 3: 3, 9: 4}), ("split", {1: 2, 4: 4, 100: 8})):
        reader = AudioReader(AudioOptions(seconds=2.0, min_seconds=0.0, channels=channels))
        (extent,) = reader.scan("a.wav", str(tmp_path / "a.wav"), 9)
        for asked, expected in counts.items():
            cut, count = reader.first(extent, asked)
            assert count == expected == len(list(reader.read([cut], ALL)))


HARD_USED = {  # of shared/data/audio/hard, with samples at least as many as this
    "flac/faulty_05 - wrong total number of samples.flac": 10_000,
    "flac/subset_23 - 8 bit per sample.flac": 100_000,
    "flac/subset_38 - 3 channels (3.0).flac": 50_000,
    "flac/subset_41 - 6 channels (5.1).flac": 100_000,
    "flac/subset_45 - no total number of samples set.flac": 10_000,
    "flac/uncommon_02 - increasing number of channels.flac": 40_000,
    "scipy/test-44100Hz-le-1ch-4bytes.wav": 1_000,
    "scipy/test-44100Hz-2ch-32bit-float-be.wav": 100,
    "tinytag/M1F1-mulawC-AFsp.afc": 40_000,
    "tinytag/adpcm.wav": 100_000,
    "tinytag/gsm_6_10.wav": 1_000,
    "tinytag/test.opus": 10_000,
    "hound/pop.wav": 20,
}


def test_hard_files_are_used_or_skipped_with_a_reason() -> None:
    if not SHARED.exists():
        pytest.skip("the shared data is not present")
    folder, lengths = SHARED / "audio" / "hard", {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name.lower().endswith(tuple(AudioReader.suffixes)):
            items = read(path)
            assert items, path
            assert all(item.reason for item in items if isinstance(item, Skipped))
            lengths[str(path.relative_to(folder))] = sum(len(i.payload.wave) for i in items if isinstance(i, Sample))
    assert all(lengths[name] >= least for name, least in HARD_USED.items())
    assert sum(length > 0 for length in lengths.values()) >= 38
    assert sum(length == 0 for length in lengths.values()) <= 29


def test_a_rate_no_sound_has(tmp_path: Path) -> None:
    """A header of 268 MHz, at which a second would be 1 GB."""
    soundfile.write(file := io.BytesIO(), [0.0, 0.5] * 8000, 16_000, format="AU")
    (tmp_path / "a.au").write_bytes(over(file.getvalue(), 16, struct.pack(">I", 16_000 << 14)))
    reader = AudioReader(AudioOptions())
    (item,) = reader.read(reader.scan("a.au", str(tmp_path / "a.au"), 100), splits(0)[0])
    assert "are too long" in item.reason
