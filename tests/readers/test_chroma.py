"""Chroma made as coarse in both directions, compared with the planes that libav and NumPy give."""

from __future__ import annotations

import zlib
from functools import partial
from io import BytesIO
from pathlib import Path
from struct import pack

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from pseudolabel import Jigsaw, Rotate
from pseudolabel.contracts import Skipped, Split, UnusableSample, or_skipped
from pseudolabel.readers.image.decode import decode

SAMPLINGS = {  # name -> pixels for each sample of chroma, across and down
    "444": (1, 1),
    "420": (2, 2),
    "422": (2, 1),
    "440": (1, 2),
    "411": (4, 1),
}


def colours(height: int, width: int) -> np.ndarray:
    """Coloured noise, a little smooth, that nothing clips."""
    noise = np.random.default_rng(4).normal(size=(height, width, 3))
    return (128 + 60 * cv2.GaussianBlur(noise, (0, 0), 1)).clip(40, 215).astype(np.uint8)


def jpeg(image: np.ndarray, name: str, quality: int = 95) -> bytes:
    factor = getattr(cv2, f"IMWRITE_JPEG_SAMPLING_FACTOR_{name}")
    options = (cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor)
    return cv2.imencode(".jpg", image[..., ::-1], options)[1].tobytes()


def planes(encoded: bytes) -> list[np.ndarray]:
    """Y, Cb and Cr as they are in the file, by libav."""
    (frame,) = av.CodecContext.create("mjpeg", "r").decode(av.Packet(encoded))
    lines = [np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size) for plane in frame.planes]
    return [line[:, : plane.width] for line, plane in zip(lines, frame.planes, strict=True)]


def ycc(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) RGB -> Y, Cb, Cr as floats, by Pillow."""
    return np.moveaxis(np.asarray(Image.fromarray(image).convert("YCbCr"), float), 2, 0)


def mean(plane: np.ndarray, across: int, down: int) -> np.ndarray:
    """The mean of each block of whole pixels; what is left at the edges is left out."""
    height, width = plane.shape[0] // down, plane.shape[1] // across
    return plane[: height * down, : width * across].reshape(height, down, width, across).mean((1, 3))


@pytest.mark.parametrize("name", SAMPLINGS)
@pytest.mark.parametrize("size", [(96, 128), (71, 95)])
def test_chroma_is_that_of_the_coarser_direction_and_luma_stays(name: str, size: tuple[int, int]) -> None:
    across, down = SAMPLINGS[name]
    encoded = jpeg(colours(*size), name)
    plain, even = (decode(encoded, "0,1", 10**6, even) for even in (False, True))
    if across == down:
        assert np.array_equal(plain, even)
        return
    step = max(across, down)
    assert np.abs(ycc(even)[0] - ycc(plain)[0]).mean() < 0.6, "rounding"
    for shown, before, coded in zip(ycc(even)[1:], ycc(plain)[1:], planes(encoded)[1:], strict=True):
        coarse = mean(coded.astype(float), step // across, step // down)
        rows, columns = coarse.shape
        kind = Image.Resampling.BILINEAR if step == 2 else Image.Resampling.NEAREST  # as libjpeg enlarges
        full = Image.fromarray(coarse.astype(np.float32)).resize((columns * step, rows * step), kind)
        inner = np.s_[step : min(rows * step, size[0]) - step, step : min(columns * step, size[1]) - step]
        assert np.abs(shown[inner] - np.asarray(full)[inner]).mean() < 1.2
        assert np.abs(before[inner] - np.asarray(full)[inner]).mean() > 1.8, "it was finer"


def test_every_format_with_uneven_chroma_and_none_other() -> None:
    image = colours(96, 128)
    files = {"tiff": BytesIO(), "even tiff": BytesIO()}
    for name, subsampling in (("tiff", (2, 1)), ("even tiff", (2, 2))):
        tifffile.imwrite(
            files[name], image, photometric="ycbcr", subsampling=subsampling, compression="jpeg",
            compressionargs={"level": 95},
        )  # fmt: skip
    for name, kind, options in (
        ("avif", "AVIF", {"subsampling": "4:2:2"}),
        ("even avif", "AVIF", {"subsampling": "4:2:0"}),
        ("even webp", "WEBP", {}),
        ("even png", "PNG", {}),
    ):
        Image.fromarray(image).save(files.setdefault(name, BytesIO()), kind, quality=95, **options)
    files["deflated tiff"] = BytesIO(deflated_tiff(image))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(image).save(files.setdefault("turned", BytesIO()), "JPEG", quality=95, subsampling=1, exif=exif)
    for name, file in files.items():
        plain, even = (decode(file.getvalue(), "0,1", 10**6, even) for even in (False, True))
        if name.startswith("even"):
            assert np.array_equal(plain, even), name
            continue
        assert np.abs(ycc(even)[0] - ycc(plain)[0]).mean() < 1, name
        slopes = [[np.abs(np.diff(ycc(shown)[1:], axis=axis)).mean() for axis in (1, 2)] for shown in (plain, even)]
        assert max(slopes[0]) > 1.2 * min(slopes[0]), f"{name}: finer in one direction"
        assert max(slopes[1]) < 1.1 * min(slopes[1]), f"{name}: as fine in both"


def deflated_tiff(image: np.ndarray) -> bytes:
    """A TIFF of YCbCr 4:2:2 in Deflate, which libtiff decodes: for each two pixels Y, Y, Cb, Cr."""
    y, cb, cr = ycc(image)
    height, width = y.shape
    units = np.dstack([y[:, ::2], y[:, 1::2], mean(cb, 2, 1), mean(cr, 2, 1)]).round().astype(np.uint8)
    units = zlib.compress(units.tobytes())
    bits = 8 + len(units)
    tags = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 3, 1, 8), (262, 3, 1, 6), (273, 4, 1, 8)]
    tags += [(277, 3, 1, 3), (278, 4, 1, height), (279, 4, 1, len(units)), (530, 3, 2, 2 | 1 << 16)]
    directory = pack("<H", len(tags)) + b"".join(pack("<HHII", *tag) for tag in tags) + bytes(4)
    return b"II*\0" + pack("<I", bits + 6) + units + pack("<3H", 8, 8, 8) + directory


def test_one_pass_finds_the_same_damage_and_the_same_channels() -> None:
    data, found = jpeg(colours(240, 360), "422"), 0
    start = data.index(b"\xff\xda") + 20
    for at in np.linspace(start, len(data) - 200, 12).astype(int).tolist():
        for broken in (data[:at] + bytes(100) + data[at + 100 :], data[:at] + data[at + 60 :], data[:at]):
            plain, even = (or_skipped(partial(decode, broken, "0,1", 10**6, even)) for even in (False, True))
            assert isinstance(plain, Skipped) == isinstance(even, Skipped)
            if isinstance(plain, Skipped):
                assert plain == even
                found += 1
    assert found > 24
    whole = decode(data, "0,1", 10**6, True)
    segment = b"\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0"
    assert data[2:20] == segment
    for same in (data[:2] + data[20:], data[:2] + 3 * segment + data[20:], data[:11] + b"\x09" + data[12:]):
        assert np.array_equal(decode(same, "0,1", 10**6, True), whole)
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0"  # RGB: there is no chroma
    with pytest.raises(UnusableSample, match="JPEG of RGB"):
        decode(data[:2] + adobe + data[20:], "0,1", 10**6, True)


def test_only_tasks_that_turn_ask_for_it(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(jpeg(colours(64, 96), "422"))
    for task, even in ((Rotate(), True), (Jigsaw(), False)):
        reader = task.reader()
        (sample,) = reader.read(reader.scan("a.jpg", str(path), path.stat().st_size), Split("train", 0.0, 1.0))
        assert np.array_equal(sample.payload, decode(path.read_bytes(), "0,1", 10**6, even))
