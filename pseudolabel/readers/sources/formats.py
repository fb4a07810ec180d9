"""File formats: the suffixes of each modality, and the format that the first bytes of a file belong to."""

from __future__ import annotations

import re
from functools import lru_cache
from struct import unpack_from

IMAGES = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif")
)
FILMS = (
    *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".flv", ".ts", ".mts", ".m2ts"),
    *(".mpg", ".mpeg", ".ogv", ".3gp", ".3g2", ".wmv", ".asf"),
)
VIDEO = frozenset((*FILMS, ".gif"))
# libsndfile does not read these; of a video, the audio stream is read
LIBAV_AUDIO = (".m4a", ".m4b", ".aac", ".mka", ".weba", ".wma", ".ac3", ".eac3", ".tta", ".wv", *FILMS)
AUDIO = frozenset(
    (
        *LIBAV_AUDIO,
        *(".wav", ".w64", ".rf64", ".flac", ".mp3", ".ogg", ".oga", ".opus"),
        *(".aif", ".aiff", ".aifc", ".afc", ".au", ".snd", ".caf", ".sph", ".nist"),
    )
)
PLAIN_TEXT = (".txt", ".text", ".md", ".markdown", ".mkd", ".mdx", ".rst", ".rest", ".tex", ".org", ".adoc", ".wiki")
JSONL = (".jsonl", ".ndjson", ".json")
CSV = (".csv", ".tsv")
COMPRESSED = (".gz", ".zst", ".xz", ".bz2")
TABLE = ".parquet"
TEXT = frozenset(kind + packed for kind in PLAIN_TEXT + JSONL + CSV for packed in ("", *COMPRESSED)) | {TABLE}
TEXT -= {".json"}  # often a configuration, not records: see `recognise`
CONTAINERS = (".zip", ".tar", ".tgz", *COMPRESSED, TABLE)
SIDECARS = (".json", ".cls")  # with .txt, the fields of a WebDataset sample
UNFINISHED = (".part", ".partial", ".crdownload", ".incomplete", ".tmp")  # files that some program still writes
PROGRAMS = frozenset(  # suffixes of programs, markup and settings: text, but no documents
    (
        *(".py", ".ipynb", ".js", ".css", ".php", ".java", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".go", ".rs"),
        *(".rb", ".pl", ".r", ".jl", ".lua", ".sql", ".sh", ".bat", ".ps1", ".html", ".htm", ".xhtml", ".xml", ".svg"),
        *(".yaml", ".yml", ".toml", ".ini", ".cfg", ".conf", ".lock", ".log", ".bib", ".md5", ".sha1", ".sha256"),
        ".dvc",
    )
)
README = re.compile(r"(?:readme|licen[cs]e|copying)\b", re.IGNORECASE)  # names of files that accompany any data
KNOWN = IMAGES | AUDIO | VIDEO | TEXT | frozenset((*CONTAINERS, *SIDECARS, *UNFINISHED))

HEAD_BYTES = 4096  # first bytes of a file that tell its format
MAX_SUFFIX_LETTERS = 12  # letters of a suffix in a summary
FRAMES = {".mp3": 3, ".aac": 3, ".ac3": 2}  # frames in a row that prove a format: many files have bytes like one header


def strip_compression(name: str) -> str:
    """Return a name in lower case, without `.gz` or the like. The remaining suffix tells the format."""
    name = name.lower()
    return name[: name.rindex(".")] if name.endswith(COMPRESSED) else name


def suffix_of(name: str) -> str:
    """Return the last suffix of a name in lower case, with its dot; "" if there is none."""
    stem, _, end = name.rpartition("/")[2].rpartition(".")
    return f".{end.lower()}" if stem and end else ""


@lru_cache(1000)
def short_suffix(suffix: str) -> str:
    """Return a suffix as a summary names it: `.doc`; `.jpg...` for `.jpg?width=300`; `without suffix` for ""."""
    letters = re.match(rf"\.[\w-]{{0,{MAX_SUFFIX_LETTERS}}}", suffix, re.ASCII)
    if not letters or len(letters[0]) < 2:
        return "without suffix"
    return suffix if letters[0] == suffix else f"{letters[0]}..."


def format_of(head: bytes) -> str:
    """Return the suffix of the format of a file, given its first `HEAD_BYTES`; "" if the format is not supported.

    Text has no signature. A TIFF whose first image is a thumbnail is the raw file of a camera, which is not read.
    """
    found = next((suffix for suffix, signature in SIGNATURES.items() if signature.match(head)), "")
    if found == ".tif" and _is_raw_photograph(head):
        return ""
    return found or _framed_audio(head)


ASF = rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\x00\xaa\x00\x62\xce\x6c"
ASF_SOUND = rb"\x40\x9e\x69\xf8\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b"
ASF_FILM = rb"\xc0\xef\x19\xbc\x4d\x5b\xcf\x11\xa8\xfd\x00\x80\x5f\x5c\x44\x2b"
EBML = rb"\x1a\x45\xdf\xa3.{0,60}?"
SIGNATURES = {  # suffix -> what the file begins with; the first that matches counts
    suffix: re.compile(signature, re.DOTALL)
    for suffix, signature in {
        ".jpg": rb"\xff\xd8\xff",
        ".png": rb"\x89PNG\r\n\x1a\n",
        ".gif": rb"GIF8[79]a",
        ".webp": rb"RIFF....WEBP",
        ".bmp": rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0",
        ".tif": rb"II[*+]\0|MM\0[*+]",
        ".avif": rb"....ftyp(?:avi[fs]|m[is]f1.{4}(?:.{4}){0,16}?avi[fs])",
        ".wav": rb"(?:RIFF|RIFX|RF64|BW64)....WAVE",
        ".w64": rb"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0",
        ".flac": rb"fLaC",
        ".mp3": rb"ID3[\x02-\x04]",
        ".aiff": rb"FORM....AIF[FC]",
        ".au": rb"\.snd\0|dns\..\0\0\0",
        ".caf": rb"caff\0\x01",
        ".sph": rb"NIST_1A\n",
        ".tta": rb"TTA1[\x01\x03]\0[\x01-\x20]\0",
        ".wv": rb"wvpk.{4}[\x02-\x10]\x04",
        ".ogv": rb"OggS.*\x80theora",
        ".ogg": rb"OggS",
        ".m4a": rb"....ftypM4[ABP] ",
        ".mp4": rb"....ftyp(?:iso|mp4|avc1|M4V|3g|dash|[fF]4[vV]|XAVC|MSNV|mmp4|ND|cmf|piff)",
        ".mov": rb"....ftypqt  |(?![\t-\r -~]{4})....(?:moov|mdat|wide)",
        ".mka": EBML + rb"matroska(?=.*A_[A-Z])(?!.*V_[A-Z])",
        ".mkv": EBML + rb"matroska",
        ".webm": EBML + rb"webm",
        ".avi": rb"RIFF....AVI ",
        ".flv": rb"FLV\x01",
        ".wma": ASF + rb"(?=.*" + ASF_SOUND + rb")(?!.*" + ASF_FILM + rb")",
        ".wmv": ASF,
        ".mpg": rb"\0\0\x01[\xb3\xba]",
        ".ts": rb"(?:G.{187}){4}G",
        ".m2ts": rb"(?:.{4}G.{187}){4}.{4}G",
    }.items()
}


def _is_raw_photograph(head: bytes) -> bool:
    """Return whether a TIFF is the raw file of a camera: a CR2, a DNG, or a file whose first image is a thumbnail."""
    order = "<" if head.startswith(b"II") else ">"
    at = unpack_from(f"{order}I", head + bytes(4), 4)[0]
    if head[8:10] == b"CR" or at + 2 > len(head):
        return head[8:10] == b"CR"
    for entry in range(at + 2, at + 2 + 12 * unpack_from(f"{order}H", head, at)[0], 12):
        if entry + 12 > len(head):
            break
        tag, kind = unpack_from(f"{order}HH", head, entry)
        if tag == 50706 or (
            tag == 254 and unpack_from(order + "H" * (kind == 3) + "I" * (kind != 3), head, entry + 8)[0] & 1
        ):
            return True
    return False


def _framed_audio(head: bytes) -> str:
    """Return the suffix of a format with as many frame headers at the start of the file as `FRAMES` says; else ""."""
    for suffix, size_of in ((".mp3", mpeg_frame_bytes), (".aac", _aac_frame_bytes), (".ac3", _ac3_frame_bytes)):
        at = 0
        for _ in range(FRAMES[suffix]):
            size = size_of(head[at : at + 6])
            if not size:
                break
            at += size
        else:
            return suffix
    return ""


MP3_KBITS = {  # (MPEG-1, layer) -> kbit/s by index
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


@lru_cache(1000)
def mpeg_frame_bytes(header: bytes) -> int:
    """Return the size of a frame of MPEG audio, layer II or III, by its header; 0 for others or a free bit rate."""
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return 0
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)
    kbits, rate = header[2] >> 4, header[2] >> 2 & 3
    if version == 1 or layer not in (2, 3) or kbits in (0, 15) or rate == 3:
        return 0
    first = version == 3
    hertz = (44100, 48000, 32000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    bits = MP3_KBITS[first, layer][kbits - 1] * 1000
    return (144 if first or layer == 2 else 72) * bits // hertz + (header[2] >> 1 & 1)


def _aac_frame_bytes(header: bytes) -> int:
    """Return the size of an ADTS frame in bytes, by its header; 0 for any other header."""
    if len(header) < 6 or header[0] != 0xFF or header[1] & 0xF6 != 0xF0:
        return 0
    size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
    return size if size > 7 else 0


AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)


def _ac3_frame_bytes(header: bytes) -> int:
    """Return the size of an AC-3 or E-AC-3 frame in bytes, by its header; 0 for others (ETSI TS 102 366)."""
    if len(header) < 6 or not header.startswith(b"\x0b\x77") or header[5] >> 3 > 16:
        return 0
    if header[5] >> 3 > 10:  # E-AC-3
        return 2 * ((header[2] & 7) << 8 | header[3]) + 2
    rate, size = header[4] >> 6, header[4] & 63
    if rate == 3 or size >= 2 * len(AC3_KBITS):
        return 0
    words = AC3_KBITS[size // 2] * 96_000 // (48_000, 44_100, 32_000)[rate]
    return 2 * (words + (size & 1 if rate == 1 else 0))
