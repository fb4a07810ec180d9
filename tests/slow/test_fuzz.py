"""A share of what `fuzz.py` does, and what it has found, each made anew."""

from __future__ import annotations

import io
import os
import struct
from pathlib import Path

import pytest
import reels
import soundfile
from fuzz import fuzz
from mutants import KINDS, over

from pseudolabel.contracts import UnusableSample, splits
from pseudolabel.readers.audio.reader import AudioOptions, AudioReader
from pseudolabel.readers.sources.opening import FaultRecordingFile, open_file
from pseudolabel.readers.text.reader import TextOptions, TextReader
from pseudolabel.readers.video.decode import VideoFile

pytestmark = pytest.mark.slow


def test_a_share_of_the_mutants(tmp_path: Path) -> None:
    outcome = fuzz(150, 0, tmp_path)
    assert not outcome.breaches, outcome.breaches
    assert sum(tally.mutants for tally in outcome.tallies.values()) == 150
    assert {name.split()[0] for name in outcome.tallies} == set(KINDS)
    assert sum(tally.used for tally in outcome.tallies.values()) > 30
    assert sum(tally.skipped for tally in outcome.tallies.values()) > 30


def test_a_rate_no_sound_has(tmp_path: Path) -> None:
    """A header of 268 MHz, at which a second would be 1 GB."""
    soundfile.write(file := io.BytesIO(), [0.0, 0.5] * 8000, 16_000, format="AU")
    (tmp_path / "a.au").write_bytes(over(file.getvalue(), 16, struct.pack(">I", 16_000 << 14)))
    reader = AudioReader(AudioOptions())
    (item,) = reader.read(reader.scan("a.au", str(tmp_path / "a.au"), 100), splits(0)[0])
    assert "are too much at once" in item.reason


def test_a_film_that_asks_for_more_memory_than_there_is(tmp_path: Path) -> None:
    """It says more of the film than of the machine, on which the next film is read."""
    path = reels.write(tmp_path / "a.mp4", [reels.counted(i) for i in range(5)])
    data = path.read_bytes()
    path.write_bytes(over(data, data.index(b"stts") + 8, b"\x7f\xff\xff\xff"))
    with pytest.raises(UnusableSample, match="asks for more memory than there is"):
        VideoFile(str(path))


def test_a_place_before_the_begin_is_no_fault_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"bytes")
    with FaultRecordingFile(open_file(str(tmp_path / "a"))) as file:
        file.seek(-9, os.SEEK_END)
        assert file.fault is None
        assert file.read(2) == b"by"


def test_columns_that_are_no_text_are_told_and_no_more_of_them_than_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"id,\xff\x8b," + b"x" * 1000 + b", y" * 1000 + b"\n1,2,3\n")
    reader = TextReader(TextOptions())
    (item,) = reader.read(reader.scan("a.csv", str(tmp_path / "a.csv"), 100), splits(0)[0])
    assert item.reason.encode()
    assert len(item.reason) < 300
