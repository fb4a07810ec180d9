"""What the first bytes of a file say, for files written by the encoders of Pillow, libsndfile and libav."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image
from runs import FIXTURES

from pseudolabel.readers.sources.formats import AUDIO, HEAD_BYTES, IMAGES, SIGNATURES, TEXT, VIDEO, format_of

RNG = np.random.default_rng(5)


def pillow(format: str, mode: str = "RGB", **options: object) -> bytes:
    picture = Image.fromarray(RNG.integers(0, 255, (48, 64, 3), np.uint8)).convert(mode)
    written = io.BytesIO()
    picture.save(written, format, **options)
    return written.getvalue()


def libsndfile(format: str, subtype: str | None = None, rate: int = 16_000, **options: object) -> bytes:
    written = io.BytesIO()
    sound = (RNG.normal(0, 0.1, (3 * rate, 2))).astype(np.float32)
    soundfile.write(written, sound, rate, format=format, subtype=subtype, **options)  # type: ignore[arg-type]
    return written.getvalue()


def libav(folder: Path, muxer: str, codec: str, **options: str) -> bytes:
    """A film of ten frames, or a sound of two seconds."""
    path, sound = folder / "film", codec in {codec for (_, codec), _ in OTHER_SOUNDS.values()}
    with av.open(str(path), "w", format=muxer, options=options) as container:
        stream = container.add_stream(codec, rate=48_000 if sound else 25)
        if sound:
            stream.layout, stream.bit_rate = "stereo", 128_000  # type: ignore[attr-defined]
            frame = av.AudioFrame.from_ndarray(RNG.normal(0, 0.1, (2, 96_000)).astype(np.float32), "fltp", "stereo")
            frame.sample_rate, frame.pts = 48_000, 0
            frames = [frame]
        else:
            stream.width, stream.height = 176, 144  # type: ignore[attr-defined]
            stream.pix_fmt = "rgb8" if codec == "gif" else "yuv420p"  # type: ignore[attr-defined]
            noise = RNG.integers(0, 255, (10, 144, 176, 3), np.uint8)
            frames = [av.VideoFrame.from_ndarray(one, "rgb24") for one in noise]  # type: ignore[misc]
        for one in frames:
            container.mux(stream.encode(one))  # type: ignore[attr-defined]
        container.mux(stream.encode(None))  # type: ignore[attr-defined]
    return path.read_bytes()


PICTURES: dict[str, Callable[[], bytes]] = {
    **{name: lambda name=name: pillow(name) for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "AVIF", "MPO")},  # type: ignore[misc]
    **{f"BMP {mode}": lambda mode=mode: pillow("BMP", mode) for mode in ("1", "L", "P", "RGBA")},  # type: ignore[misc]
    "GIF": lambda: pillow("GIF", "P"),
    "CMYK": lambda: pillow("JPEG", "CMYK"),
    "lossless": lambda: pillow("WEBP", "RGBA", lossless=True),
    "BigTIFF": lambda: pillow("TIFF", big_tiff=True),
    "TIFF, LZW": lambda: pillow("TIFF", compression="tiff_lzw"),
    "TIFF, big-endian": lambda: pillow("TIFF", "I;16B"),
}
SOUNDS: dict[str, Callable[[], bytes]] = {
    **{
        name: lambda name=name: libsndfile(name)  # type: ignore[misc]
        for name in ("WAV", "WAVEX", "RF64", "W64", "AIFF", "AU", "CAF", "NIST", "FLAC", "OGG")
    },
    "RIFX": lambda: libsndfile("WAV", endian="BIG"),
    "AU, little-endian": lambda: libsndfile("AU", endian="LITTLE"),
    "AIFC": lambda: libsndfile("AIFF", "ULAW"),
    "Opus": lambda: libsndfile("OGG", "OPUS"),
    **{
        f"MP3 {rate} Hz, {level}": lambda rate=rate, level=level: libsndfile("MP3", rate=rate, compression_level=level)  # type: ignore[misc]
        for rate in (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000)
        for level in (0.0, 0.9)
    },
    "MP3 after a tag": lambda: b"ID3\4\0\0\0\0\x0f\x76" + bytes(2038) + libsndfile("MP3"),
}
FILMS = {  # muxer, codec, options of the muxer
    "MP4": ("mp4", "mpeg4", {}),
    "fragmented": ("mp4", "mpeg4", {"movflags": "frag_keyframe+empty_moov"}),
    "DASH": ("mp4", "mpeg4", {"movflags": "dash", "brand": "dash"}),
    "MOV": ("mov", "mpeg4", {}),
    "3GP": ("3gp", "mpeg4", {}),
    "MKV": ("matroska", "mpeg4", {}),
    "WebM": ("webm", "libvpx", {}),
    "AVI": ("avi", "mpeg4", {}),
    "FLV": ("flv", "flv", {}),
    "WMV": ("asf", "wmv2", {}),
    "transport stream": ("mpegts", "mpeg2video", {}),
    "Blu-ray's": ("mpegts", "mpeg2video", {"mpegts_m2ts_mode": "1"}),
    "program stream": ("mpeg", "mpeg1video", {}),
    "GIF": ("gif", "gif", {}),
}
OTHER_SOUNDS = {  # how libav writes them -> the suffix that they are recognised as, if a reader takes it
    "M4A": (("ipod", "aac"), ".m4a"),
    "ADTS": (("adts", "aac"), ".aac"),
    "MP2": (("mp2", "mp2"), ".mp3"),
    "WMA": (("asf", "wmav2"), ".wma"),
    "MKA": (("matroska", "aac"), ".mka"),
    "WebM": (("webm", "libopus"), ".webm"),
    "AC-3": (("ac3", "ac3"), ".ac3"),
    "E-AC-3": (("eac3", "eac3"), ".ac3"),
    "True Audio": (("tta", "tta"), ".tta"),
    "WavPack": (("wv", "wavpack"), ".wv"),
}


@pytest.mark.parametrize("name", PICTURES)
def test_pictures(name: str) -> None:
    assert format_of(PICTURES[name]()[:HEAD_BYTES]) in IMAGES


@pytest.mark.parametrize("name", SOUNDS)
def test_sounds(name: str) -> None:
    assert format_of(SOUNDS[name]()[:HEAD_BYTES]) in AUDIO


@pytest.mark.parametrize("name", FILMS)
def test_films(name: str, tmp_path: Path) -> None:
    muxer, codec, options = FILMS[name]
    assert format_of(libav(tmp_path, muxer, codec, **options)[:HEAD_BYTES]) in VIDEO


@pytest.mark.parametrize("name", OTHER_SOUNDS)
def test_sounds_in_other_containers(name: str, tmp_path: Path) -> None:
    (muxer, codec), suffix = OTHER_SOUNDS[name]
    assert format_of(libav(tmp_path, muxer, codec)[:HEAD_BYTES]) == suffix


def test_all_fixtures_by_content_alone() -> None:
    told = {path: format_of(path.read_bytes()[:HEAD_BYTES]) for path in FIXTURES.rglob("*.*") if path.stat().st_size}
    for folder, suffixes in (("images", IMAGES), ("audio", AUDIO), ("video", VIDEO), ("text", {""})):
        ours = {path: found for path, found in told.items() if path.parts[len(FIXTURES.parts)] == folder}
        assert ours, folder
        assert {path for path, found in ours.items() if found not in suffixes and "broken" not in path.name} == set()


def raw_photograph(order: str, tag: int, value: int) -> bytes:
    """A TIFF that begins with a thumbnail, or says that it is a DNG; a tag as Pillow writes it."""
    info = Image.Exif()
    info[tag] = value
    if order == "II":
        return pillow("TIFF", tiffinfo=info)
    entry = tag.to_bytes(2, "big") + b"\0\4\0\0\0\1" + value.to_bytes(4, "big")
    return b"MM\0*\0\0\0\x08\0\1" + entry + bytes(4)


NO_MEDIA = {
    "text": b"BMW, and then RIFF. ID3 tags are fLaC\n" * 200,
    "of UTF-16": "\ufeffa text".encode("utf-16-le") * 500,
    "of a BM at its begin": b"BM" + b"all that is left of it\n" * 200,
    "that speaks of a film": b"The moovie, ftypes and mdata" * 200,
    "that has a word of QuickTime": b"how mdat began" * 200,
    "PDF": b"%PDF-1.7\n" + b"\xff\xd8\xff" * 2000,
    "Word": b"PK\3\4\x14\0\6\0\x08\0[Content_Types].xml" + bytes(4000),
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(4000),
    "CR3": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(4000),
    "CR2": b"II*\0\x10\0\0\0CR\2\0" + bytes(4000),
    "NEF": raw_photograph("MM", 254, 1),
    "thumbnail first": raw_photograph("II", 254, 1),
    "DNG": raw_photograph("II", 50706, 0x0401),
    "MIDI": b"MThd\0\0\0\6" + bytes(4000),
    "RIFF of another kind": b"RIFF\0\0\0\0sfbkLIST" + bytes(4000),
    "one frame of MP3": b"\xff\xfb\x90\0" + bytes(4000),
    "one frame of AAC": b"\xff\xf1\x50\x80\x10\0\xfc" + bytes(4000),
    "zeros": bytes(4096),
    "ones": b"\xff" * 4096,
    "nothing": b"",
}


@pytest.mark.parametrize("name", NO_MEDIA)
def test_what_is_no_media(name: str) -> None:
    assert format_of(NO_MEDIA[name][:HEAD_BYTES]) == ""


def test_noise_is_no_media() -> None:
    """Nor is noise behind bytes that a frame or a file of sound may begin with."""
    for begin in (
        b"",
        b"\xff\xfb",
        b"\xff\xf3",
        b"\xff\xf1",
        b"\xff\xf9",
        b"G",
        b"BM",
        b"\0\0",
        b"\xff\xfe",
        b"\x0bw",
        b"wvpk",
        b"TTA1",
    ):
        heads = (begin + RNG.bytes(HEAD_BYTES - len(begin)) for _ in range(500))
        assert {format_of(head) for head in heads} == {""}, begin


def test_any_cut_of_a_head_is_read_without_an_error() -> None:
    with warnings.catch_warnings(action="error"):
        for make in (PICTURES["TIFF"], PICTURES["TIFF, big-endian"], SOUNDS["OGG"], SOUNDS["MP3 8000 Hz, 0.0"]):
            data = make()[:HEAD_BYTES]
            assert {format_of(data[:count]) for count in range(200)} <= {"", format_of(data)}


def test_formats_of_text_have_no_signature() -> None:
    assert not TEXT & SIGNATURES.keys()
