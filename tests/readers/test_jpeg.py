"""Damage inside a JPEG: what libav (ffmpeg) reports in its compressed data is left out, and intact files are not."""

from __future__ import annotations

import re
from collections.abc import Callable
from io import BytesIO

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.image.decode import decode

LIMIT = 50_000_000
NOISE = np.random.default_rng(3).normal(0, 1, (20, 30, 3))
PICTURE = Image.fromarray(
    np.uint8(np.clip(cv2.resize(NOISE, (360, 240), interpolation=cv2.INTER_CUBIC) * 60 + 128, 0, 255))
)
KINDS: dict[str, tuple[str, dict[str, object]]] = {
    "4:2:0": ("RGB", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "own tables": ("RGB", {"optimize": True}),
    "restarts": ("RGB", {"restart_marker_rows": 1}),
    "gray": ("L", {"restart_marker_blocks": 7}),
    "inks": ("CMYK", {"restart_marker_rows": 2}),
    "EXIF": ("RGB", {"exif": b"Exif\0\0II*\0\x08\0\0\0\0\0", "restart_marker_rows": 1}),
    "progressive": ("RGB", {"progressive": True}),
}
Damage = Callable[[bytes, float], bytes]


def encoded(kind: str) -> bytes:
    mode, options = KINDS[kind]
    stream = BytesIO()
    PICTURE.convert(mode).save(stream, "JPEG", quality=85, **options)
    return stream.getvalue()


def place(data: bytes, share: float) -> int:
    start = data.rfind(b"\xff\xda")
    return start + 16 + int((len(data) - start - 20) * share)


def zeros_in_the_middle(data: bytes, share: float) -> bytes:
    at, length = place(data, share * 0.8), (len(data) - place(data, 0)) // 8
    return data[:at] + bytes(length) + data[at + length :]


def half_then_zeros(data: bytes, share: float) -> bytes:
    at = place(data, share)
    return data[:at] + bytes(len(data) - 2 - at) + b"\xff\xd9"


def lost_bytes(data: bytes, share: float) -> bytes:
    at = place(data, share * 0.8)
    return data[:at] + data[at + 100 :]


def lost_interval(data: bytes, share: float) -> bytes:
    marks = [match.start() for match in re.finditer(rb"\xff[\xd0-\xd7]", data) if match.start() > place(data, 0)]
    first = int((len(marks) - 1) * share)
    return data[: marks[first]] + data[marks[first + 1] :]


def noise(data: bytes, share: float) -> bytes:
    at = place(data, share * 0.8)
    return data[:at] + bytes(np.random.default_rng(int(share * 99)).integers(0, 255, 60, np.uint8)) + data[at + 60 :]


def reported_by_libav(data: bytes) -> bool:
    """Whether ffmpeg, told to be strict, refuses the compressed data or logs an error. APP fields are not asked for."""
    decoder = av.CodecContext.create("mjpeg", "r")
    decoder.options = {"err_detect": "explode"}
    level = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as logs:
            decoder.decode(av.Packet(data))
            return any(log[0] <= av.logging.ERROR for log in logs)
    except av.InvalidDataError:
        return True
    finally:
        av.logging.set_level(level)


@pytest.mark.parametrize("kind", KINDS)
def test_intact(kind: str) -> None:
    """The same pixels as OpenCV's, and as Pillow's for inks."""
    data = encoded(kind)
    assert not reported_by_libav(data)
    made = decode(data, "0,1", LIMIT)
    if kind == "inks":
        assert (made == np.asarray(Image.open(BytesIO(data)).convert("RGB"))).all()
    else:
        assert (made == cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)).all()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("damage", [zeros_in_the_middle, half_then_zeros, lost_bytes, lost_interval, noise])
@pytest.mark.parametrize("kind", KINDS)
def test_damage(kind: str, damage: Damage, share: float) -> None:
    if damage is lost_interval and not any("restart" in name for name in KINDS[kind][1]):
        pytest.skip("no restart intervals")
    broken = damage(encoded(kind), share)
    if not reported_by_libav(broken):  # then no one can ask for it; libjpeg may still report it
        assert kind == "progressive" or damage in (noise, lost_bytes)
        return
    with pytest.raises(UnusableSample, match="broken JPEG"):
        decode(broken, "0,1", LIMIT)


def changed_headers(data: bytes) -> dict[str, bytes]:
    """The same picture behind headers with faults, which decoders report and pass over; libjpeg says only the first."""
    table, scan = data.index(b"\xff\xdb"), data.index(b"\xff\xda")
    after = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    headers = {
        "junk": data[:table] + b"\x0d" + data[table:],
        "zeros": data[:table] + bytes(99) + data[table:],
        "filling": data[:table] + b"\xff\xff" + data[table:],
        "junk before the scan": data[:scan] + b"\x0d\x0a" + data[scan:],
        "Adobe": data[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x09" + data[2:],
    }
    if data[6:10] == b"JFIF":
        headers["JFIF"] = data[:11] + b"\x09" + data[12:]
    if b"\xff\xc2" not in data:
        headers["scan parameters"] = data[: after - 3] + bytes(3) + data[after:]
    return headers


@pytest.mark.parametrize("kind", KINDS)
def test_faults_of_the_header_hide_no_damage(kind: str) -> None:
    data = encoded(kind)
    for name, same in changed_headers(data).items():
        if kind == "inks":
            shown = np.asarray(Image.open(BytesIO(same)).convert("RGB"))
        else:
            shown = cv2.imdecode(np.frombuffer(same, np.uint8), cv2.IMREAD_COLOR_RGB)
        assert (decode(same, "0,1", LIMIT) == shown).all(), name
        for damage in (half_then_zeros, lost_bytes, noise):
            broken = damage(data, 0.5)
            if reported_by_libav(broken):
                with pytest.raises(UnusableSample, match="broken JPEG"):
                    decode(changed_headers(broken)[name], "0,1", LIMIT)


@pytest.mark.parametrize("kind", KINDS)
def test_line_ends_that_were_converted(kind: str) -> None:
    """As FTP does in text mode, of the header too."""
    data = encoded(kind)
    for broken in (data.replace(b"\n", b"\r\n"), data.replace(b"\r", b"\n"), data.replace(b"\n", b"")):
        if reported_by_libav(broken):
            with pytest.raises(UnusableSample):
                decode(broken, "0,1", LIMIT)


@pytest.mark.parametrize("options", [{"rowsperstrip": 64}, {"tile": (128, 128)}])
def test_damage_of_a_jpeg_in_a_tiff(options: dict[str, object]) -> None:
    """Libtiff passes over what libjpeg reports."""
    file = BytesIO()
    tifffile.imwrite(file, np.asarray(PICTURE), photometric="rgb", compression="jpeg", metadata=None, **options)
    data = file.getvalue()
    with tifffile.TiffFile(BytesIO(data)) as opened:
        start, size = opened.pages[0].dataoffsets[1], opened.pages[0].databytecounts[1]
    assert np.abs(decode(data, "0,1", LIMIT) - tifffile.imread(BytesIO(data)).astype(float)).max() <= 2
    for damage in (half_then_zeros, zeros_in_the_middle, noise):
        part = damage(data[start : start + size], 0.5)
        with pytest.raises(UnusableSample, match="broken JPEG"):
            decode(data[:start] + part + data[start + size :], "0,1", LIMIT)


def test_zeros_that_libjpeg_passes_over() -> None:
    """Coefficients beyond the end of a block, and yet the right number of blocks: only libav reports them."""
    rng, data, alone = np.random.default_rng(0), encoded("4:2:0"), 0
    for _ in range(300):
        at, length = place(data, rng.uniform(0, 0.9)), int(rng.integers(16, 40))
        broken = data[:at] + bytes(length) + data[at + length :]
        if reported_by_libav(broken):
            with pytest.raises(UnusableSample) as fault:
                decode(broken, "0,1", LIMIT)
            alone += "invalid compressed data" in str(fault.value)
    assert alone


def doubled(data: bytes, share: float) -> bytes:
    at = place(data, share * 0.8)
    return data[: at + 16] + data[at:]


def test_damage_within_a_restart_interval() -> None:
    """Libjpeg counts the bytes of an interval; where it has the right number of blocks, only libav reports damage."""
    rng, alone = np.random.default_rng(0), 0
    for kind in ("restarts", "gray", "inks", "EXIF"):
        data = encoded(kind)
        for damage in (noise, doubled, lost_bytes) * 40:
            broken = damage(data, rng.random())
            if reported_by_libav(broken):
                with pytest.raises(UnusableSample) as fault:
                    decode(broken, "0,1", LIMIT)
                alone += "invalid compressed data" in str(fault.value)
    assert alone


@pytest.mark.parametrize("padding", [b"\0", b"\0" * 9, b"\0" * 3000, b"\xff" * 9, b"U" * 50])
def test_padding_before_the_end_harms_nothing(padding: bytes) -> None:
    data = encoded("4:2:0")
    padded = data[:-2] + padding + data[-2:]
    assert not reported_by_libav(padded)
    assert (decode(padded, "0,1", LIMIT) == decode(data, "0,1", LIMIT)).all()


def test_faults_of_the_header_and_flat_pictures_harm_nothing() -> None:
    data = bytearray(encoded("4:2:0"))
    expected = decode(bytes(data), "0,1", LIMIT)
    data[11] = 9  # a version of JFIF that is not known
    assert (decode(bytes(data), "0,1", LIMIT) == expected).all()
    at = len(data) // 2
    with pytest.raises(UnusableSample, match="broken JPEG"):
        decode(bytes(data[:at] + bytes(400) + data[at + 400 :]), "0,1", LIMIT)
    stream = BytesIO()
    Image.new("RGB", (900, 600), "white").save(stream, "JPEG", optimize=True)  # zeros are what it consists of
    assert bytes(16) in stream.getvalue()
    assert (decode(stream.getvalue(), "0,1", LIMIT) == 255).all()
