"""TIFF of more than 8 bits in every layout, written by tifffile, and what NumPy says they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import pytest
import tifffile
from PIL import Image

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.image.decode import decode

LIMIT, PERCENTILES = 50_000_000, "0.5%,99.5%"
TYPES = ("u2", "i2", "u4", "i4", "f2", "f4", "f8")
ARRANGEMENTS = ("strips", "tiles", "planes", "tiled planes")
COLOURS = {  # -> photometric, channels, extra samples; None: the tag is missing
    "white is zero": ("miniswhite", 1, ()),
    "black is zero": ("minisblack", 1, ()),
    "white is zero, and straight alpha": ("miniswhite", 1, ("unassalpha",)),
    "gray and a band": ("minisblack", 1, ("unspecified",)),
    "gray and straight alpha": ("minisblack", 1, ("unassalpha",)),
    "gray and premultiplied alpha": ("minisblack", 1, ("assocalpha",)),
    "rgb": ("rgb", 3, ()),
    "rgb and a band": ("rgb", 3, ("unspecified",)),
    "rgb and an unnamed band": ("rgb", 3, None),
    "rgb and straight alpha": ("rgb", 3, ("unassalpha",)),
    "rgb and premultiplied alpha": ("rgb", 3, ("assocalpha",)),
}
COMPRESSIONS = ("none", "lzw", "deflate", "packbits", "zstd", "lzma")
ORDERS = ("<", ">")
LEVELS = np.array([[0, 30, 255], [90, 128, 160], [200, 255, 60]], np.uint8)
OPACITY = np.array([[255, 204, 0], [102, 255, 153], [51, 255, 255]], np.uint8)


class Layout(NamedTuple):
    """One way to store a picture."""

    arrangement: str
    colour: str
    type: str
    compression: str
    order: str
    predicted: bool

    @property
    def refused(self) -> bool:
        """Whether nobody has defined what this shows, so that it is to be refused."""
        return ("white is zero" in self.colour and self.type[0] == "f") or (
            "alpha" in self.colour and self.type[0] == "i"
        )


AXES: tuple[Sequence[Any], ...] = (ARRANGEMENTS, tuple(COLOURS), TYPES, COMPRESSIONS, ORDERS, (False, True))


def every_layout() -> Iterator[Layout]:
    """The whole product; a predictor needs a compression that has one."""
    for values in product(*AXES):
        layout = Layout(*values)
        if not layout.predicted or layout.compression not in ("none", "packbits"):
            yield layout


def pairwise_layouts() -> list[Layout]:
    """Some layouts, with each pair of values of two axes in at least one: always the one that has most new pairs."""
    left, chosen, many = set(), [], list(every_layout())
    for layout in many:
        left |= pairs(layout)
    rng = np.random.default_rng(0)
    while left:
        some = [many[i] for i in rng.choice(len(many), 200, replace=False)]
        best = max(some, key=lambda layout: len(pairs(layout) & left))
        if new := pairs(best) & left:
            left -= new
            chosen.append(best)
    return chosen


def pairs(layout: Layout) -> set[tuple[int, Any, int, Any]]:
    return {(i, layout[i], j, layout[j]) for i in range(len(layout)) for j in range(i)}


def board(levels: np.ndarray, height: int = 45, width: int = 51) -> np.ndarray:
    """(3, 3) -> (height, width): a board of flat squares."""
    return levels[np.arange(height) * 3 // height][:, np.arange(width) * 3 // width]


def colours_of(layout: Layout, pixels: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """8-bit twin, (H, W, 1 or 3) as it shows, and (H, W, 1) opacity."""
    channels = COLOURS[layout.colour][1]
    twin = np.dstack([board(np.roll(LEVELS, turn)) for turn in range(channels)]) if pixels is None else pixels
    alpha = board(OPACITY, *twin.shape[:2])[..., None]
    return twin, alpha if "alpha" in layout.colour else np.full_like(alpha, 255)


def deepen(levels: np.ndarray, kind: str) -> np.ndarray:
    """0..255 -> the whole range of a type, of floats 0 to 1."""
    if kind[0] == "f":
        return (levels / 255).astype(kind)
    low, high = np.iinfo(kind).min, np.iinfo(kind).max
    return (low + np.round(levels.astype(np.float64) * (high - low) / 255)).clip(low, high).astype(kind)


def limits(kind: str) -> str:
    return "0,1" if kind[0] == "f" else f"{np.iinfo(kind).min},{np.iinfo(kind).max}"


def write_tiff(layout: Layout, pixels: np.ndarray | None = None) -> bytes:
    """The board, or (H, W, 1 or 3) uint8 pixels, in a layout."""
    photometric, _, extra = COLOURS[layout.colour]
    twin, opacity = colours_of(layout, pixels)
    shown = 255 - twin if photometric == "miniswhite" else twin
    shown = shown * (opacity / 255) if "premultiplied" in layout.colour else shown
    values = deepen(shown, layout.type)
    if extra != ():
        band = opacity if "alpha" in layout.colour else 255 - twin[..., :1] // 2
        values = np.dstack([values, deepen(band, layout.type)])
    separate = "planes" in layout.arrangement and values.shape[2] > 1
    stored = np.moveaxis(values, 2, 0) if separate else values
    stored = stored[..., 0] if values.shape[2] == 1 else stored
    floats = layout.type[0] == "f"
    file = BytesIO()
    tifffile.imwrite(
        file, stored.astype(f"{layout.order}{layout.type}"), byteorder=layout.order, photometric=photometric,
        planarconfig=None if values.shape[2] == 1 else "separate" if separate else "contig",
        extrasamples=("unspecified",) if extra is None else extra or None, metadata=None,
        tile=(16, 32) if "tile" in layout.arrangement else None,
        rowsperstrip=None if "tile" in layout.arrangement else 10,
        compression=None if layout.compression == "none" else layout.compression,
        predictor=(3 if floats else 2) if layout.predicted else None,
    )  # fmt: skip
    return renamed(file.getvalue(), 338, 337) if extra is None else file.getvalue()  # 337 says nothing of pixels


def renamed(data: bytes, tag: int, number: int) -> bytes:
    """The same file with the number of one tag changed."""
    with tifffile.TiffFile(BytesIO(data)) as file:
        start = file.pages[0].tags[tag].offset
        return data[:start] + number.to_bytes(2, "little" if file.byteorder == "<" else "big") + data[start + 2 :]


def shown_by_numpy(data: bytes, layout: Layout) -> np.ndarray:
    """(H, W, 3) floats: what tifffile reads, between the percentiles 0.5 and 99.5, on white."""
    values = tifffile.imread(BytesIO(data))
    photometric, channels, _ = COLOURS[layout.colour]
    if "planes" in layout.arrangement and values.ndim == 3:
        values = np.moveaxis(values, 0, 2)
    values = values.reshape(*values.shape[:2], -1).astype(np.float64)
    largest = 1 if layout.type[0] == "f" else np.iinfo(layout.type).max
    smallest = 0 if layout.type[0] == "f" else np.iinfo(layout.type).min
    colours, alpha = values[..., :channels], np.ones((*values.shape[:2], 1))
    if photometric == "miniswhite":
        colours = smallest + (largest - colours)
    if "alpha" in layout.colour:
        alpha = values[..., channels:] / largest
    if "premultiplied" in layout.colour:
        colours = np.divide(colours, alpha, out=np.zeros_like(colours), where=alpha > 0)
    low, high = np.percentile(colours, [0.5, 99.5])
    image = np.clip((colours - low) / (high - low), 0, 1) * 255 * alpha + 255 * (1 - alpha)
    return np.broadcast_to(image, (*values.shape[:2], 3))


EXTRAS = (
    (),
    (0,),
    (1,),
    (2,),
    (0, 0),
    (1, 0),
    (2, 0),
    (0, 2),
)  # ExtraSamples: 0 a band, 1 and 2 alpha, 1 premultiplied


def check_eight_bits(compressions: Sequence[str]) -> int:
    """Hold the reader to 8-bit layouts of all colours and extra samples: refused by name, or as tifffile has it.

    Return how many are read.
    """
    rng, count = np.random.default_rng(0), 0
    for (photometric, own), extra in product(
        {"miniswhite": 1, "minisblack": 1, "rgb": 3, "separated": 4}.items(), EXTRAS
    ):
        pixels = rng.integers(0, 256, (37, 45, own + len(extra)), np.uint8)
        place = next((own + i for i, kind in enumerate(extra) if kind), None)
        alpha = np.full((37, 45, 1), 255.0) if place is None else pixels[..., [place]].astype(float)
        if 1 in extra:
            pixels[..., :own] = np.round(pixels[..., :own] * (alpha / 255))
        gray_and_bands = own == 1 and len(extra) > 1
        refused = gray_and_bands or (1 in extra and photometric == "miniswhite") or (own == 4 and place is not None)
        for separate, compression, tile in product((False, True), compressions, (None, (16, 32))):
            if separate and pixels.shape[2] == 1:
                continue
            file = BytesIO()
            tifffile.imwrite(
                file, np.squeeze(np.moveaxis(pixels, 2, 0) if separate else pixels), photometric=photometric,
                planarconfig=None if pixels.shape[2] == 1 else "separate" if separate else "contig", tile=tile,
                extrasamples=extra or None, compression=None if compression == "none" else compression, metadata=None,
            )  # fmt: skip
            data = file.getvalue()
            if refused:
                with pytest.raises(UnusableSample, match=r"TIFF of 8-bit integers .* is not read"):
                    decode(data, PERCENTILES, LIMIT)
                continue
            values = tifffile.imread(BytesIO(data))
            values = (np.moveaxis(values, 0, 2) if separate else values.reshape(pixels.shape))[..., :own]
            shown = 255.0 - values if photometric == "miniswhite" else values.astype(float)
            if own == 4:
                shown = np.asarray(Image.fromarray(np.ascontiguousarray(values), "CMYK").convert("RGB")).astype(float)
            share = 1 if 1 in extra else alpha / 255
            expected = np.broadcast_to(shown * share + 255 - alpha, (37, 45, 3))
            assert np.abs(decode(data, PERCENTILES, LIMIT) - expected).max() <= 1, (photometric, extra, separate, tile)
            count += 1
    return count


def check_layout(layout: Layout) -> None:
    """Hold the reader to one layout: it is refused, or shows the twin, and by default what NumPy says."""
    data = write_tiff(layout)
    if layout.refused:
        bits = 8 * int(layout.type[1])
        with pytest.raises(UnusableSample, match=f"TIFF of {bits}-bit .* is not read"):
            decode(data, PERCENTILES, LIMIT)
        return
    twin, opacity = colours_of(layout)
    share = opacity / 255
    expected = np.broadcast_to(twin * share + 255 * (1 - share), (*twin.shape[:2], 3))
    made = decode(data, limits(layout.type), LIMIT)
    assert np.abs(made - expected).max() <= 2
    assert np.abs(decode(data, PERCENTILES, LIMIT) - shown_by_numpy(data, layout)).max() <= 2
