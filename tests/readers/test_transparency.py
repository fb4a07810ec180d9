"""Transparency in each of its carriers, on white: as libav and OpenCV show it, or arithmetic for one of them."""

from __future__ import annotations

import struct
from io import BytesIO

import av
import cv2
import imagecodecs
import numpy as np
import pytest
import tifffile
from carriers import BGRA, write_bmp, write_png
from PIL import Image

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.image.decode import decode

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (24, 32, 4), np.uint8)


def shown(data: bytes) -> np.ndarray:
    return decode(data, "0,65535", 50_000_000).astype(float)


def on_white(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4), 0 to 255 -> (H, W, 3)"""
    share = rgba[..., 3:] / 255
    return rgba[..., :3] * share + 255 * (1 - share)


def by_libav(data: bytes, codec: str) -> np.ndarray:
    decoder = av.CodecContext.create(codec, "r")
    (frame,) = decoder.decode(av.Packet(data)) or decoder.decode(None)
    return on_white(frame.reformat(format="rgba").to_ndarray().astype(float))


def by_opencv(data: bytes) -> np.ndarray:
    """Of colour only: OpenCV leaves tRNS out of gray."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    image = image / (257 if image.dtype == np.uint16 else 1)
    return on_white(image[..., [2, 1, 0, 3]]) if image.shape[2] == 4 else image[..., ::-1]


def saved(kind: str, pixels: np.ndarray = PIXELS, **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("clear", [0, 1])
def test_a_clear_gray(depth: int, clear: int) -> None:
    values = RNG.integers(0, 2, (24, 32)) if depth < 16 else 20_000 + RNG.integers(0, 2, (24, 32))
    clear = int(values.min()) + clear  # at 16 bits the two differ in their low byte alone
    data = write_png(values, depth, 0, struct.pack(">H", clear))
    expected = np.where(values == clear, 255, values * 255 / (2**depth - 1))[..., None].repeat(3, 2)
    assert np.abs(shown(data) - expected).max() <= 1
    gray, alpha = np.moveaxis(imagecodecs.png_decode(data).astype(float), 2, 0)  # libpng
    largest = 65535 if depth == 16 else 255
    assert np.abs(shown(data) - on_white(np.dstack([gray, gray, gray, alpha]) * 255 / largest)).max() <= 1
    if depth >= 8:  # libav and Pillow compare fewer bits with the value of eight
        assert np.abs(by_libav(data, "png") - expected).max() <= 1


@pytest.mark.parametrize("depth", [8, 16])
def test_a_clear_colour(depth: int) -> None:
    values = RNG.integers(0, 2, (24, 32, 3)) + (90 if depth == 8 else 20_000)
    data = write_png(values, depth, 2, struct.pack(">HHH", *map(int, values[0, 0])))
    assert (shown(data)[(values == values[0, 0]).all(2)] == 255).all()
    assert (shown(data)[(values != values[0, 0]).any(2)] < 255).all()
    assert np.abs(shown(data) - by_libav(data, "png")).max() <= 1.5
    assert np.abs(shown(data) - by_opencv(data)).max() <= 1.5


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
@pytest.mark.parametrize("given", [1, 2])
def test_clear_colours_of_a_palette(depth: int, given: int) -> None:
    palette, values = RNG.integers(0, 256, 3 * 2**depth, np.uint8), RNG.integers(0, 2**depth, (24, 32))
    data = write_png(values, depth, 3, bytes([7, 130][:given]), palette.tobytes())
    alpha = np.full(2**depth, 255)
    alpha[:given] = [7, 130][:given]
    expected = on_white(np.dstack([palette.reshape(-1, 3)[values], alpha[values]]))
    for image in (shown(data), by_libav(data, "png"), by_opencv(data)):
        assert np.abs(image - expected).max() <= 1.5


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("colour", [4, 6])
def test_alpha_of_png(depth: int, colour: int) -> None:
    values = RNG.integers(0, 2**depth, (24, 32, 2 if colour == 4 else 4))
    data = write_png(values, depth, colour)
    for image in (by_libav(data, "png"), by_opencv(data)):
        assert np.abs(shown(data) - image).max() <= 2


@pytest.mark.parametrize(
    ("data", "codec"),
    [
        (saved("WEBP", lossless=True, exact=True), "webp"),
        (saved("WEBP", np.dstack([np.full((24, 32, 3), 90, np.uint8), np.indices((24, 32), np.uint8)[1] * 8])), "webp"),
        (saved("GIF"), "gif"),
    ],
    ids=["webp", "lossy webp", "gif"],
)
def test_other_formats(data: bytes, codec: str) -> None:
    for image in (by_libav(data, codec), by_opencv(data)):
        assert np.abs(shown(data) - image).max() <= 2


def test_a_first_frame_that_is_smaller_than_the_picture() -> None:
    """What it does not cover is transparent, as in browsers; libav and OpenCV show a GIF's background colour there."""
    part, canvas = PIXELS[4:20, 8:28, :3], np.full((24, 32, 3), 255.0)
    colours = Image.fromarray(part).quantize(64)
    stream = BytesIO()
    colours.save(stream, "GIF")
    data, canvas[4:20, 8:28] = bytearray(stream.getvalue()), np.asarray(colours.convert("RGB"))
    at = data.index(b"\x2c\0\0\0\0")
    data[6:10], data[at + 1 : at + 5] = struct.pack("<HH", 32, 24), struct.pack("<HH", 8, 4)
    assert (shown(bytes(data)) == canvas).all()
    assert (by_libav(bytes(data), "gif")[4:20, 8:28] == canvas[4:20, 8:28]).all()

    def chunk(name: bytes, body: bytes) -> bytes:
        return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)

    image = saved("WEBP", np.ascontiguousarray(part), lossless=True)[12:]
    place = b"".join(struct.pack("<I", number)[:3] for number in (4, 2, 19, 15, 100)) + b"\0"
    for alpha in (b"\x12", b"\x02"):  # whether the file says that it has alpha
        header = chunk(b"VP8X", alpha + b"\0\0\0\x1f\0\0\x17\0\0") + chunk(b"ANIM", bytes(6))
        webp = chunk(b"RIFF", b"WEBP" + header + chunk(b"ANMF", place + image))
        canvas[4:20, 8:28] = part
        assert (shown(webp) == canvas).all()
        assert (by_opencv(webp) == canvas).all() or alpha == b"\x02"


@pytest.mark.parametrize("compression", [None, "lzw", "deflate"])
@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("alpha", ["unassalpha", "assocalpha"])
def test_alpha_of_tiff(compression: str | None, separate: bool, alpha: str) -> None:
    """OpenCV shows something else; tifffile reads the values, which are put on white by arithmetic."""
    pixels = PIXELS.copy()
    if alpha == "assocalpha":
        pixels[..., :3] = np.round(PIXELS[..., :3] * (PIXELS[..., 3:] / 255))
    file = BytesIO()
    stored = np.moveaxis(pixels, 2, 0) if separate else pixels
    tifffile.imwrite(
        file, stored, photometric="rgb", planarconfig="separate" if separate else "contig", metadata=None,
        extrasamples=[alpha], compression=compression,
    )  # fmt: skip
    data = file.getvalue()
    read = np.moveaxis(tifffile.imread(BytesIO(data)), 0, 2) if separate else tifffile.imread(BytesIO(data))
    expected = on_white(read) if alpha == "unassalpha" else read[..., :3] + 255.0 - read[..., 3:]
    assert np.abs(shown(data) - expected).max() <= 2
    if alpha == "unassalpha":
        assert np.abs(by_libav(data, "tiff") - expected).max() <= 2


@pytest.mark.parametrize("version", [4, 5])
@pytest.mark.parametrize(
    ("masks", "fields"),
    [(BGRA, True), ((*BGRA[:3], 0), True), ((0xFF, 0xFF00, 0xFF0000, 0xFF000000), True), (BGRA, False)],
    ids=["BGRA", "BGR and nothing", "RGBA", "BI_RGB"],
)
def test_alpha_of_bmp(version: int, masks: tuple[int, int, int, int], fields: bool) -> None:
    data = write_bmp(PIXELS, version, masks, fields)
    assert np.abs(shown(data) - by_opencv(data)).max() <= 1
    if fields:  # libav takes the last byte of BI_RGB for alpha; Pillow, OpenCV and the format itself do not
        assert np.abs(shown(data) - by_libav(data, "bmp")).max() <= 1


@pytest.mark.parametrize("masks", [(0x7C00, 0x3E0, 0x1F, 0x8000), (0xF800, 0x7E0, 0x1F, 0)])
def test_bmp_of_sixteen_bits(masks: tuple[int, int, int, int]) -> None:
    """One bit of alpha is not shown by anyone."""
    data = write_bmp(RNG.integers(0, 65536, (24, 32), np.uint16), 5, masks, True)
    assert np.abs(shown(data) - by_libav(data, "bmp")).max() <= 1


def test_bmp_of_four_bits_is_not_called_broken() -> None:
    data = write_bmp(RNG.integers(0, 65536, (24, 32), np.uint16), 4, (0xF00, 0xF0, 0xF, 0xF000), True)
    with pytest.raises(UnusableSample, match=r"^cannot read the header: Unsupported BMP bitfields layout$"):
        shown(data)
