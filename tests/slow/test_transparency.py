"""Transparency in its carriers: the whole product of their axes, as two others show it: decoders, or arithmetic."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from io import BytesIO
from itertools import permutations, product
from typing import Any, NamedTuple

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

pytestmark = pytest.mark.slow

RNG = np.random.default_rng(0)
SIZE = (24, 32)
COLOURS = RNG.integers(0, 256, (*SIZE, 3), np.uint8)
OPACITIES = {
    "gradient": np.indices(SIZE)[1] * 8,
    "noise": RNG.integers(0, 256, SIZE),
    "holes": RNG.integers(0, 2, SIZE) * 255,
    "nothing": np.zeros(SIZE, int),
    "opaque": np.full(SIZE, 255),
}


class Case(NamedTuple):
    """A file, and what two others show: each (H, W, 3), 0 to 255, on white."""

    name: tuple[Any, ...]
    data: bytes
    shown: tuple[np.ndarray, np.ndarray]


def on_white(colours: np.ndarray, alpha: np.ndarray | float = 255) -> np.ndarray:
    share = np.broadcast_to(np.asarray(alpha, float), SIZE)[..., None] / 255
    return np.broadcast_to(np.asarray(colours, float), (*SIZE, 3)) * share + 255 * (1 - share)


def by_libav(data: bytes, codec: str) -> np.ndarray:
    decoder = av.CodecContext.create(codec, "r")
    (frame,) = decoder.decode(av.Packet(data)) or decoder.decode(None)
    rgba = frame.reformat(format="rgba").to_ndarray()
    return on_white(rgba[..., :3], rgba[..., 3])


def by_opencv(data: bytes) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    image = image / (257 if image.dtype == np.uint16 else 1)
    return on_white(image[..., 2::-1], image[..., 3] if image.shape[2] == 4 else 255)


def by_libpng(data: bytes) -> np.ndarray:
    """Of gray: OpenCV leaves out its tRNS, and libav compares fewer than eight bits with the value of eight."""
    image = imagecodecs.png_decode(data)
    image = image.reshape(*SIZE, -1) / (257 if image.dtype == np.uint16 else 1)
    return on_white(image[..., :1], image[..., 1] if image.shape[2] == 2 else 255)


def gray_pngs() -> Iterator[Case]:
    for depth, which in product((1, 2, 4, 8, 16), ("none", "present", "absent", "close")):
        base = 20_000 if depth == 16 else 0
        values = base + RNG.integers(0, 2, SIZE) * {1: 1, 16: 2000}.get(depth, 2)
        clear = {"none": None, "present": base, "absent": base + 1, "close": base + 1000}[which]
        if (depth == 1 and which == "absent") or (depth < 16 and which == "close"):
            continue
        data = write_png(values, depth, 0, b"" if clear is None else struct.pack(">H", clear))
        shown = on_white(values[..., None] * 255 / (2**depth - 1), np.where(values == clear, 0, 255))
        yield Case(("gray png", depth, which), data, (shown, by_libpng(data)))


def colour_pngs() -> Iterator[Case]:
    for depth, which in product((8, 16), ("none", "present", "absent", "close")):
        base = 90 if depth == 8 else 20_000
        values = base + RNG.integers(0, 2, (*SIZE, 3)) * (2000 if depth == 16 else 1)
        clear = {"none": [], "present": [base] * 3, "absent": [7] * 3, "close": [base, base, base + 2]}[which]
        data = write_png(values, depth, 2, struct.pack(f">{len(clear)}H", *clear))
        yield Case(("colour png", depth, which), data, (by_libav(data, "png"), by_opencv(data)))
    for depth, colour, opacity in product((8, 16), (4, 6), OPACITIES):
        scale = 1 if depth == 8 else 257
        colours = COLOURS[..., : colour // 2 if colour == 6 else 1].astype(int)
        data = write_png(np.dstack([colours, OPACITIES[opacity]]) * scale, depth, colour)
        yield Case(("alpha png", depth, colour, opacity), data, (by_libav(data, "png"), by_opencv(data)))


def palette_pngs() -> Iterator[Case]:
    for depth in (1, 2, 4, 8):
        palette, values = RNG.integers(0, 256, 3 * 2**depth, np.uint8), RNG.integers(0, 2**depth, SIZE)
        for given in sorted({0, 1, 2, 3, 2**depth - 1, 2**depth} - set(range(2**depth + 1, 4))):
            for some in (bytes(given), bytes(RNG.integers(0, 256, given, np.uint8)), b"\xff" * given):
                data = write_png(values, depth, 3, some, palette.tobytes())
                yield Case(("palette png", depth, given), data, (by_libav(data, "png"), by_opencv(data)))


def webps() -> Iterator[Case]:
    """Lossy ones of one colour, because the others enlarge colours in different ways."""
    kinds = ({"lossless": True, "exact": True}, {"lossless": True}, {"quality": 90}, {"quality": 20})
    for options, opacity in product(kinds, OPACITIES):
        colours = COLOURS if "lossless" in options else np.full_like(COLOURS, 90)
        pixels = np.dstack([colours, OPACITIES[opacity].astype(np.uint8)])
        stream = BytesIO()
        Image.fromarray(pixels).save(stream, "WEBP", **options)
        data = stream.getvalue()
        yield Case(("webp", str(options), opacity), data, (by_libav(data, "webp"), by_opencv(data)))


def gifs() -> Iterator[Case]:
    for colours, clear, disposal in product((2, 3, 16, 200, 256), (None, 0, 1, "last"), (0, 1, 2)):
        indices = RNG.integers(0, colours, SIZE, np.uint8)
        image = Image.fromarray(indices)
        image.putpalette(RNG.integers(0, 256, 3 * colours, np.uint8).tobytes())
        stream = BytesIO()
        index = {} if clear is None else {"transparency": colours - 1 if clear == "last" else clear}
        image.save(stream, "GIF", disposal=disposal, optimize=False, **index)
        data = stream.getvalue()
        yield Case(("gif", colours, clear, disposal), data, (by_libav(data, "gif"), by_opencv(data)))


def tiffs() -> Iterator[Case]:
    """Straight alpha; the rest of it is in `test_tiff.py`. OpenCV shows something else."""
    axes = (("u1", "u2"), "<>", (False, True), (None, "lzw", "deflate", "packbits"), OPACITIES)
    for kind, order, separate, compression, opacity in product(*axes):
        values = np.dstack([COLOURS, OPACITIES[opacity]]).astype(kind) * (257 if kind == "u2" else 1)
        file = BytesIO()
        tifffile.imwrite(
            file, np.moveaxis(values, 2, 0) if separate else values, photometric="rgb", extrasamples=["unassalpha"],
            planarconfig="separate" if separate else "contig", metadata=None, compression=compression, byteorder=order,
        )  # fmt: skip
        data = file.getvalue()
        read = tifffile.imread(BytesIO(data)) / (257 if kind == "u2" else 1)
        read = np.moveaxis(read, 0, 2) if separate else read
        shown = on_white(read[..., :3], read[..., 3])
        yield Case(("tiff", kind, order, separate, compression, opacity), data, (shown, by_libav(data, "tiff")))


def bmps() -> Iterator[Case]:
    """Masks in any order, or without alpha; libav does not know most of them."""
    for version, order, opaque, opacity in product((4, 5), permutations(range(4)), (False, True), OPACITIES):
        masks = tuple(BGRA[place] for place in order)
        pixels = np.dstack([COLOURS, OPACITIES[opacity]]).astype(np.uint8)
        stored = np.zeros((*SIZE, 4), np.uint8)
        for channel, mask in enumerate(masks):
            stored[..., mask.bit_length() // 8 - 1] = pixels[..., channel]
        data = write_bmp(stored, version, (*masks[:3], 0 if opaque else masks[3]), True)
        shown = on_white(COLOURS, 255 if opaque else OPACITIES[opacity])
        yield Case(("bmp", version, order, opaque, opacity), data, (shown, by_opencv(data)))
    for version in (4, 5):
        data = write_bmp(np.dstack([COLOURS[..., ::-1], COLOURS[..., :1]]), version, BGRA, False)
        yield Case(("bmp", version, "BI_RGB"), data, (on_white(COLOURS), by_opencv(data)))


@pytest.mark.parametrize("cases", [gray_pngs, colour_pngs, palette_pngs, webps, gifs, tiffs, bmps])
def test_every_case(cases: Any) -> None:
    """Both others agree, and so do we, or refuse it: only BMP whose masks have an order that Pillow does not know."""
    wrong, refused, used = [], [], 0
    for case in cases():
        one, other = case.shown
        if np.abs(one - other).max() > 2:
            wrong.append((case.name, "the others disagree"))
        try:
            made = decode(case.data, "0,65535", 50_000_000)
        except UnusableSample as fault:
            refused.append((case.name[0], str(fault)))
            continue
        used += 1
        if max(np.abs(made - one).max(), np.abs(made - other).max()) > 2.5:
            wrong.append((case.name, np.abs(made - one).max(), np.abs(made - other).max()))
    assert not wrong, (len(wrong), wrong[:10])
    assert set(refused) <= {("bmp", "cannot read the header: Unsupported BMP bitfields layout")}
    assert used > 12
