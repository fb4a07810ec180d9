"""What follows a recording in its file, and ends that are cut off: by the bytes that the tests add or take away."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import recordings
import soundfile
from reels import counted, write

from pseudolabel.contracts import Sample, Skipped, Split
from pseudolabel.readers.audio.reader import AudioOptions, AudioReader
from pseudolabel.readers.video.clip_sampling import Sampling
from pseudolabel.readers.video.reader import VideoReader

ALL = Split("train", 0.0, 1.0)
SOUND = AudioReader(AudioOptions(min_seconds=0.0, channels="1"))
FILMS = VideoReader(Sampling((0, 1), 2, 2, seconds=False), 64)


def read(path: Path, reader: AudioReader | VideoReader) -> tuple[list[Sample], list[str]]:
    """Return the samples of a file, and the reasons for what is not used."""
    items = list(reader.read(reader.scan(path.name, str(path), path.stat().st_size), ALL))
    return [i for i in items if isinstance(i, Sample)], [i.reason for i in items if isinstance(i, Skipped)]


def wave(samples: list[Sample]) -> np.ndarray:
    return np.concatenate([sample.payload.wave for sample in samples])


def left(count: int, kind: str = "") -> str:
    another = f", another file ({kind})" if kind else ""
    return f"the recording ends here by its header; what follows is not read: {count:,} bytes{another}"


def test_a_sound_joined_to_another_is_reported(tmp_path: Path) -> None:
    """What is used is what libsndfile, or libav, decodes of the first alone."""
    speech = recordings.speech(16_000, 1.5, 1)
    kinds = {
        "a.wav": {}, "b.wav": {"subtype": "IMA_ADPCM"}, "c.wav": {"format": "RF64"}, "d.aiff": {}, "e.au": {},
        "g.caf": {}, "h.caf": {"subtype": "ALAC_16"}, "i.au": {"endian": "LITTLE"},
    }  # fmt: skip
    for name, how in kinds.items():
        soundfile.write(tmp_path / name, speech, 16_000, **how)
    truths = {name: soundfile.read(tmp_path / name, dtype="int16")[0] for name in kinds}
    for name, codec in (("j.m4a", "aac"), ("k.mov", "pcm_s16le"), ("l.mp4", "aac")):
        path = recordings.write(tmp_path / name, speech, 16_000, codec)
        truths[name] = np.rint(recordings.decode(path)[:, 0] * 32768).astype(np.int16)
    for name, truth in truths.items():
        path = tmp_path / name
        data = path.read_bytes()
        path.write_bytes(2 * data)
        samples, reasons = read(path, SOUND)
        assert reasons == [left(len(data), path.suffix)], name
        assert np.abs(wave(samples)[: len(truth)].astype(int) - truth).max() <= 1, name
        assert abs(len(wave(samples)) - len(truth)) < 100, "the last block of ADPCM"


def test_a_header_that_states_less_sound_than_the_file_holds(tmp_path: Path) -> None:
    speech = recordings.speech(16_000, 3.0, 1)
    kinds = {"a.wav": (b"data", "<I"), "b.aiff": (b"SSND", ">I"), "c.au": (b".snd", ">I"), "d.caf": (b"data", ">Q")}
    for name, (tag, layout) in kinds.items():
        soundfile.write(path := tmp_path / name, speech, 16_000)
        data, truth = bytearray(path.read_bytes()), soundfile.read(path, dtype="int16")[0]
        at = data.index(tag) + (8 if name == "c.au" else 4)
        extra = {".aiff": 8, ".caf": 4}.get(path.suffix, 0)  # counted before the samples
        struct.pack_into(layout, data, at, 32_000 + extra)
        path.write_bytes(data)
        samples, reasons = read(path, SOUND)
        assert reasons == [left(64_000)], name
        assert (wave(samples) == truth[:16_000]).all(), name
        path.write_bytes(data[: 32_000 + len(data) - 96_000 + 4096])
        assert not read(path, SOUND)[1], "a tag or padding"


def test_a_wav_of_big_endian_order_is_read_by_libsndfile_or_not_at_all(tmp_path: Path) -> None:
    """libav takes RIFX for RIFF and gives noise."""
    soundfile.write(path := tmp_path / "a.wav", recordings.speech(16_000, 1.0, 1), 16_000, endian="BIG")
    truth, data = soundfile.read(path, dtype="int16")[0], path.read_bytes()
    assert (wave(read(path, SOUND)[0]) == truth).all()
    for broken in (2 * data, data[:40] + bytes(4) + data[44:]):
        path.write_bytes(broken)
        samples, reasons = read(path, SOUND)
        assert (not samples, len(reasons)) == (True, 1)


def test_chunks_behind_the_sound_are_not_left_over(tmp_path: Path) -> None:
    soundfile.write(path := tmp_path / "a.wav", recordings.speech(16_000, 1.0, 1), 16_000, "PCM_U8")
    data, _ = path.read_bytes() + bytes(1), path.unlink()
    chunks = [
        b"LIST" + struct.pack("<I", 9001) + b"INFO" + bytes(8997),
        b"id3 " + struct.pack("<I", 7000) + bytes(7000),
    ]
    for number, tail in enumerate((chunks[0] + b"\0" + chunks[1], chunks[0] + chunks[1], chunks[1], b"\xff" * 4096)):
        (path := tmp_path / f"{number}.wav").write_bytes(data[:-1] + tail)
        assert not read(path, SOUND)[1]
        path.write_bytes(data[:-1] + tail + b"\xff" * 5000)
        assert read(path, SOUND)[1] == [left(5000 + 4096 * (number == 3))]


def test_the_lost_end_of_a_film_and_a_second_film_are_reported(tmp_path: Path) -> None:
    frames = [counted(i)[::2, ::2] for i in range(50)]
    kinds = {
        "a.mp4": "libx264", "b.mkv": "libx264", "c.webm": "libvpx", "d.avi": "mpeg4", "e.wmv": "msmpeg4",
        "f.mov": "mjpeg",
    }  # fmt: skip
    for name, codec in kinds.items():
        path = write(tmp_path / name, frames, codec)
        data = path.read_bytes()
        whole, none = read(path, FILMS)
        assert none == []
        path.write_bytes(data[:-1000])
        *damage, last = read(path, FILMS)[1]
        assert last == "the file is 1,000 bytes shorter than its header says", name
        assert all("does not decode" in reason for reason in damage)
        path.write_bytes(2 * data)
        samples, reasons = read(path, FILMS)
        if path.suffix == ".avi":  # libav reads both
            assert (len(samples) > len(whole), reasons) == (True, [])
        elif path.suffix in (".mkv", ".webm"):
            assert reasons == ["cannot be read from here on: the timestamps go back by 2 s"]
        else:
            assert [sample.key for sample in samples] == [sample.key for sample in whole]
            assert reasons == [left(len(data), path.suffix)]


def test_the_sound_of_a_film_that_lost_its_end(tmp_path: Path) -> None:
    path = recordings.write(tmp_path / "a.mkv", recordings.speech(48_000, 3.0), 48_000, "libopus", picture="film")
    assert read(path, SOUND)[1] == []
    path.write_bytes(path.read_bytes()[:-9000])
    assert read(path, SOUND)[1] == ["the file is 9,000 bytes shorter than its header says"]
