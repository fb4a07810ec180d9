"""Small files of every format that is read, and damage done to them: what `fuzz.py` feeds the command with."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import recordings
import reels
import soundfile
from carriers import BGRA, write_bmp, write_png
from PIL import Image
from runs import FIXTURES, SHARED
from tiffs import pairwise_layouts, write_tiff

from pseudolabel.readers.audio.reader import AudioReader
from pseudolabel.readers.image.reader import ImageReader
from pseudolabel.readers.text.reader import TextReader
from pseudolabel.readers.video.reader import VideoReader

LARGEST = 60_000  # bytes of a file that is worth its time here
READERS = {"pictures": ImageReader, "sounds": AudioReader, "films": VideoReader, "texts": TextReader}
KINDS = (*READERS, "archives")  # these of pictures
SHARED_FOLDERS = {"pictures": "images/hard", "sounds": "audio/hard", "films": "video", "texts": "text/peps"}

Seeds = dict[str, list[bytes]]  # by how the name ends


def seeds(kind: str, folder: Path) -> Seeds:
    """Files of every format: encoded here from the fixtures, and real ones where they are present."""
    made: Seeds = {}
    encoded = {"pictures": pictures, "sounds": partial(sounds, folder), "films": partial(films, folder), "texts": texts}
    for suffix, data in {**encoded, "archives": partial(archives, folder)}[kind]():
        made.setdefault(suffix, []).append(data)
    if kind in READERS:
        for path in sorted((SHARED / SHARED_FOLDERS[kind]).rglob("*.*")):
            if path.suffix.lower() in READERS[kind].suffixes and 0 < path.stat().st_size <= LARGEST:
                made.setdefault(path.suffix.lower(), []).append(path.read_bytes())
    return made


def pictures() -> Iterator[tuple[str, bytes]]:
    """One picture of each format Pillow writes, in the variants that decoders treat differently."""
    whole = Image.open(FIXTURES / "images" / "hills" / "00.jpg").resize((160, 120))
    clear = whole.convert("RGBA")
    clear.putalpha(whole.convert("L"))
    deep = Image.fromarray(np.asarray(whole.convert("L"), np.uint16) * 256)
    turned = Image.Exif()
    turned[0x0112] = 6
    frames = {"save_all": True, "append_images": [whole.rotate(90), whole.rotate(180)]}
    packed = [{"compression": how} for how in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")]
    variants = {
        ".jpg": [(whole, {}), (whole, {"progressive": True}), (whole.convert("L"), {}), (whole.convert("CMYK"), {}),
                 (whole, {"exif": turned}), (whole, {"restart_marker_rows": 1})],
        ".png": [(whole, {}), (whole.quantize(60), {}), (clear, {}), (deep, {}), (whole.convert("1"), {})],
        ".apng": [(whole, {**frames, "format": "PNG"})],
        ".webp": [(whole, {}), (clear, {"lossless": True}), (whole, frames), (whole, {"exif": turned})],
        ".gif": [(whole, {}), (whole, frames)],
        ".bmp": [(whole, {}), (whole.quantize(60), {}), (whole.convert("1"), {})],
        ".tiff": [*((whole, how) for how in packed), (deep, {}), (whole.convert("1"), {"compression": "group4"})],
        ".avif": [(whole, {}), (clear, {})],
    }  # fmt: skip
    for suffix, kinds in variants.items():
        for picture, options in kinds:
            file = io.BytesIO()
            picture.save(file, **{"format": Image.registered_extensions()[suffix], **options})
            yield suffix, file.getvalue()
    yield from ((".tiff", write_tiff(layout)) for layout in pairwise_layouts()[::6] if not layout.refused)
    yield ".bmp", write_bmp(np.asarray(clear), 5, BGRA, fields=True)
    yield ".png", write_png(np.asarray(whole.convert("L")) // 16, 4, 0, clear=b"\0\3")


def sounds(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Two seconds in each format libsndfile writes, in each of its codings that fits, and in formats of libav."""
    spoken, rate = soundfile.read(FIXTURES / "audio" / "ada" / "0.wav", dtype="float32")
    wave = np.resize(spoken, (2 * rate, 1)) * np.float32([1, 0.5])
    formats = {
        ".wav": ("WAV", ("PCM_16", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM", "MS_ADPCM", "GSM610")),
        ".w64": ("W64", ("PCM_16", "ALAW")), ".rf64": ("RF64", ("PCM_16",)), ".flac": ("FLAC", ("PCM_16", "PCM_24")),
        ".mp3": ("MP3", ("MPEG_LAYER_III",)), ".ogg": ("OGG", ("VORBIS",)), ".opus": ("OGG", ("OPUS",)),
        ".aiff": ("AIFF", ("PCM_16", "FLOAT", "IMA_ADPCM")), ".au": ("AU", ("PCM_16", "G721_32")),
        ".caf": ("CAF", ("PCM_16", "ALAC_16")), ".sph": ("NIST", ("PCM_16", "ULAW")),
    }  # fmt: skip
    alone = {"GSM610", "G721_32", "IMA_ADPCM"}
    for suffix, (container, codings) in formats.items():
        for coding in codings:
            file = io.BytesIO()
            soundfile.write(file, wave[:, 0] if coding in alone else wave, rate, coding, format=container)
            yield suffix, file.getvalue()
    for name, codec, kind, picture in (
        ("a.m4a", "aac", "mp4", "cover"), ("b.m4a", "alac", "ipod", ""), ("a.aac", "aac", "adts", ""),
        ("a.mka", "flac", "matroska", ""), ("a.wma", "wmav2", "asf", ""), ("a.ac3", "ac3", "ac3", ""),
        ("a.webm", "libopus", "webm", "film"), ("a.mp4", "aac", "mp4", "film"),
    ):  # fmt: skip
        written = recordings.write(
            folder / name, recordings.speech(48_000, 2.0), 48_000, codec, format=kind, picture=picture
        )
        yield written.suffix, written.read_bytes()


def films(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Twenty frames in each container, and in the codecs that are met there."""
    frames = [reels.counted(number)[::2, ::2] for number in range(20)]
    os.environ.setdefault("SVT_LOG", "1")  # it prints how it is set up, else
    options = {"libx265": {"x265-params": "log-level=none"}}
    codecs = {
        ".mp4": ("libx264", "libx265", "mpeg4", "libsvtav1"), ".mov": ("mjpeg",), ".mkv": ("libx264", "ffv1"),
        ".webm": ("libvpx", "libvpx-vp9"), ".avi": ("mpeg4", "mjpeg"), ".gif": ("gif",), ".ts": ("mpeg2video",),
        ".mpg": ("mpeg1video",), ".flv": ("flv",), ".wmv": ("wmv2",), ".3gp": ("mpeg4",), ".ogv": ("libvpx",),
    }  # fmt: skip
    for suffix, names in codecs.items():
        for codec in names:
            yield suffix, reels.write(folder / f"film{suffix}", frames, codec, **options.get(codec, {})).read_bytes()
    for suffix, codec, given in (
        (".mp4", "libx264", {"flags": "+ildct+ilme"}),
        (".ts", "mpeg2video", {"flags": "+ildct+ilme"}),
        (".webm", "libvpx", {"layout": "yuva420p", "auto-alt-ref": "0"}),
        (".webm", "libvpx-vp9", {"layout": "yuva420p", "auto-alt-ref": "0"}),
    ):
        yield suffix, reels.write(folder / f"film{suffix}", frames, codec, **given).read_bytes()


def texts() -> Iterator[tuple[str, bytes]]:
    """Some sentences in each kind of file, plain and packed."""
    paragraphs = (FIXTURES / "text" / "tales-0.txt").read_text("utf-8")[:6000].split("\n\n")
    table = pa.table({"id": range(len(paragraphs)), "text": paragraphs})
    quoted = ['"{}"'.format(text.replace('"', '""')) for text in paragraphs]
    plain = {
        ".txt": "\n\n".join(paragraphs),
        ".md": "# A tale\n\n" + "\n\n".join(paragraphs),
        ".jsonl": "".join(json.dumps(row) + "\n" for row in table.to_pylist()),
        ".csv": "id,text\r\n" + "".join(f"{i},{text}\r\n" for i, text in enumerate(quoted)),
        ".tsv": "id\ttext\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(quoted)),
    }
    for suffix, text in plain.items():
        yield suffix, text.encode()
        yield from ((f"{suffix}.{kind}", packed(text.encode(), kind)) for kind in ("gz", "zst", "xz", "bz2"))
    for compression in ("none", "snappy", "zstd", "gzip"):
        pq.write_table(table, file := io.BytesIO(), compression=compression, row_group_size=20)
        yield ".parquet", file.getvalue()


def archives(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Eight small pictures in each kind of archive, and in each kind of column."""
    members = {f"{i}/{i}.webp": data for i, (suffix, data) in enumerate(pictures()) if suffix in (".webp", ".avif")}
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        with zipfile.ZipFile(file := io.BytesIO(), "w", method) as into:
            for name, data in members.items():
                into.writestr(name, data)
        yield ".zip", file.getvalue()
    for mode, form in (("w", tarfile.PAX_FORMAT), ("w", tarfile.GNU_FORMAT), ("w:gz", tarfile.PAX_FORMAT)):
        with tarfile.open(fileobj=(file := io.BytesIO()), mode=mode, format=form) as tar:
            for name, data in members.items():
                about = tarfile.TarInfo(name)
                about.size = len(data)
                tar.addfile(about, io.BytesIO(data))
        yield ".tar.gz" if mode == "w:gz" else ".tar", file.getvalue()
    structs = [{"bytes": data, "path": name} for name, data in members.items()]
    for column in (structs, list(members.values())):
        pq.write_table(pa.table({"image": column}), file := io.BytesIO(), row_group_size=3)
        yield ".parquet", file.getvalue()


# --- damage: (bytes, bytes of another file, chance) -> bytes ----------------------------------------------------------


def place(data: bytes, rng: np.random.Generator) -> int:
    """Somewhere: two times of five in the head or the tail, where formats keep what they say of themselves."""
    end = min(len(data), 256)
    anywhere, head, tail = rng.integers(len(data)), rng.integers(end), len(data) - 1 - rng.integers(end)
    return int(rng.choice([anywhere, anywhere, anywhere, head, tail]))


def over(data: bytes, at: int, run: bytes) -> bytes:
    """The bytes with `run` written over them."""
    return (data[:at] + run + data[at + len(run) :])[: max(len(data), 1)]


def flipped(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    for _ in range(2 ** rng.integers(5)):
        at = place(data, rng)
        data = over(data, at, bytes([data[at] ^ 1 << rng.integers(8)]))
    return data


def zeroed(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return over(data, place(data, rng), bytes(2 ** rng.integers(11)))


def scrambled(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return over(data, place(data, rng), rng.bytes(2 ** rng.integers(11)))


def truncated(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[: place(data, rng)]


def beheaded(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    return data[place(data, rng) :]


def spliced(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    head = 2 ** rng.integers(3, 11)
    return other[:head] + data[head:]


def swapped(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    a, b, c = sorted(place(data, rng) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def doubled(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    a, b = sorted(place(data, rng) for _ in range(2))
    return data[:b] + data[a:b] * int(rng.integers(1, 4)) + data[b:]


def extreme(data: bytes, other: bytes, rng: np.random.Generator) -> bytes:
    """Numbers in the head, of whatever width and order, are as small or as large as they can be."""
    for _ in range(rng.integers(1, 4)):
        width, order = int(rng.choice([1, 2, 4, 8])), str(rng.choice(["little", "big"]))
        most = 256**width
        number = (0, 1, most // 2 - 1, most // 2, most - 1)[rng.integers(5)]
        data = over(data, place(data, rng), number.to_bytes(width, order))
    return data


DAMAGE: dict[str, Callable[[bytes, bytes, np.random.Generator], bytes]] = {
    damage.__name__: damage
    for damage in (flipped, zeroed, scrambled, truncated, beheaded, spliced, swapped, doubled, extreme)
}


# --- checksums made true again, so that damage comes through to the decoder ------------------------------------------


def sealed(data: bytes) -> bytes:
    """PNG's and Ogg's checksums as the damaged bytes want them; other formats have none, or not checked."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return _sealed_png(data)
    return _sealed_ogg(data) if data.startswith(b"OggS") else data


def _sealed_png(data: bytes) -> bytes:
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + struct.unpack_from(">I", data, at)[0]
        data = over(data, end, struct.pack(">I", zlib.crc32(data[at + 4 : end]))) if end + 4 <= len(data) else data
        at = end + 4
    return data


def _sealed_ogg(data: bytes) -> bytes:
    at = 0
    while (at := data.find(b"OggS", at)) >= 0 and at + 27 <= len(data):
        lengths = data[at + 27 : at + 27 + data[at + 26]]
        end = at + 27 + len(lengths) + sum(lengths)
        page = data[at : at + 22] + bytes(4) + data[at + 26 : end]
        data = over(data, at + 22, struct.pack("<I", _ogg_crc(page)))
        at += 4
    return data


def _ogg_crc(page: bytes) -> int:
    crc = 0
    for byte in page:
        crc = (crc << 8 & 0xFFFFFFFF) ^ OGG[crc >> 24 ^ byte]
    return crc


def _ogg_table() -> Iterator[int]:
    for crc in range(256):
        crc <<= 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
        yield crc


OGG = list(_ogg_table())


def packed(data: bytes, kind: str) -> bytes:
    """The bytes as `gz`, `zst`, `xz` or `bz2`, or as they are."""
    if kind == "gz":
        return gzip.compress(data, mtime=0)
    if kind in ("xz", "bz2"):
        return lzma.compress(data) if kind == "xz" else bz2.compress(data)
    return bytes(pa.compress(data, "zstd", asbytes=True)) if kind == "zst" else data


def unpacked(data: bytes, kind: str) -> bytes:
    """What `packed` packs."""
    if kind == "gz":
        return gzip.decompress(data)
    if kind in ("xz", "bz2"):
        return lzma.decompress(data) if kind == "xz" else bz2.decompress(data)
    return bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read()) if kind == "zst" else data


def mutant(suffix: str, data: bytes, other: bytes, rng: np.random.Generator) -> tuple[str, bytes]:
    """One file, damaged in one way or in two, and how; what is packed is damaged half of the time within."""
    names = [str(name) for name in rng.choice(list(DAMAGE), 1 + (rng.random() < 0.25))]
    within, seal = rng.random() < 0.5, rng.random() < 0.5
    kind = suffix.rpartition(".")[2] if within else ""
    data = unpacked(data, kind)
    for name in names:
        data = DAMAGE[name](data, other, rng) or b"\0"
    data = packed(data, kind)
    return "-".join(names), sealed(data) if seal else data
