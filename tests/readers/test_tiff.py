"""TIFF of more than 8 bits: read as tifffile and NumPy read it, or refused by its name."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from tiffs import Layout, check_eight_bits, check_layout, pairwise_layouts, renamed

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.image.decode import decode

LIMIT = 50_000_000
ALPHA = {"planarconfig": "contig", "extrasamples": ["assocalpha"]}
PERCENTILES = "0.5%,99.5%"
RAMP = np.arange(40 * 50).reshape(40, 50)


@pytest.mark.parametrize("layout", pairwise_layouts(), ids=lambda layout: "-".join(map(str, layout)))
def test_layout(layout: Layout) -> None:
    check_layout(layout)


def test_eight_bits_with_other_channels() -> None:
    assert check_eight_bits(["none", "lzw"]) == 136


def bare(tags: dict[int, int], strip: bytes) -> bytes:
    """A TIFF of one strip, which begins after the tags."""
    tags = {**tags, 273: 14 + 12 * len(tags)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, tags[tag]) for tag in sorted(tags))
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + strip


def written(values: np.ndarray, **options: object) -> bytes:
    file = BytesIO()
    tifffile.imwrite(file, values, metadata=None, **options)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (written(RAMP.astype(np.uint64)), "64-bit integers"),
        (written(RAMP.astype(np.int64)), "64-bit signed integers"),
        (written(RAMP.astype(np.complex64)), "64-bit complex numbers"),
        (written(RAMP.astype(np.uint16), bigtiff=True, byteorder=">"), "64-bit offsets in big-endian order"),
        (written(RAMP.astype(np.int8)), "8-bit signed integers"),
        (
            written(np.zeros((40, 50, 3), np.uint16), photometric="rgb", bitspersample=12),
            "12-bit integers that are not",
        ),
        (written(np.zeros((40, 50, 3), np.uint16), photometric="minisblack", planarconfig="contig"), "3 channels"),
        (written(np.zeros((40, 50, 7), np.uint16), photometric="rgb", planarconfig="contig"), "7 channels"),
        (written(np.zeros((40, 50, 3), np.uint8), photometric="minisblack", planarconfig="contig"), "3 channels"),
        (written(np.zeros((40, 50), np.uint8), photometric="cfa"), "1 channels.* interpretation 32803"),
        (written(np.zeros((40, 50, 5), np.uint8), photometric="separated", extrasamples=[2]), "CMYK with alpha|5 chan"),
        (written(np.zeros((40, 50, 2), np.uint16), photometric="miniswhite", **ALPHA), "white, with premultiplied"),
        (written(np.zeros((40, 50, 2), np.uint8), photometric="miniswhite", **ALPHA), "white, with premultiplied"),
        (written(np.zeros((7, 40, 50), np.float32), photometric="minisblack", planarconfig="separate"), "7 channels"),
        (written(np.zeros((40, 50, 3), np.uint16), photometric="ycbcr"), "photometric interpretation 6"),
        (written(np.zeros((40, 50, 3), np.uint16), photometric="cielab"), "photometric interpretation 8"),
        (written(np.zeros((40, 50), np.uint16), photometric="cfa"), "photometric interpretation 32803"),
        (written(np.zeros((40, 50, 4), np.float32), photometric="separated"), "32-bit floats in CMYK"),
        (written(RAMP.astype(np.uint16), compression="jpeg2000"), "16-bit integers with compression"),
        (written(np.zeros((40, 50, 3), np.uint8), compression="webp"), "8-bit integers with compression 50001"),
        (written(RAMP.astype(np.uint16), compression="jpegxl"), "16-bit integers with compression"),
        (
            renamed(written(RAMP.astype("f4"), extratags=[(65000, 3, 1, 2, True)]), 65000, 317),
            "32-bit floats with predi",
        ),
        (renamed(written(RAMP.astype("u2"), extratags=[(65000, 3, 1, 2, True)]), 65000, 266), "fill order 2"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_layouts_are_refused_by_name(data: bytes, name: str) -> None:
    with pytest.raises(UnusableSample, match=f"TIFF of .*{name}.* is not read; convert it"):
        decode(data, PERCENTILES, LIMIT)


def test_alpha_of_floats_that_is_no_share_is_refused() -> None:
    values = np.full((40, 50, 4), 9, np.float32)
    with pytest.raises(UnusableSample, match="alpha outside 0 to 1"):
        decode(written(values, photometric="rgb", extrasamples=["unassalpha"]), PERCENTILES, LIMIT)


@pytest.mark.parametrize("options", [{}, {"tile": (16, 16)}, {"bigtiff": True}])
@pytest.mark.parametrize("width", [50, 51])
def test_gray_of_twelve_bits(options: dict[str, object], width: int) -> None:
    values = (np.arange(40 * width) * 7 % 4096).reshape(40, width).astype(np.uint16)
    big = {"bigtiff": options["bigtiff"]} if "bigtiff" in options else {}
    file = BytesIO()
    with tifffile.TiffWriter(file, **big) as writer:  # type: ignore[arg-type]
        writer.write(values, bitspersample=12, metadata=None, **{k: v for k, v in options.items() if k not in big})
    data = file.getvalue()
    assert np.abs(decode(data, "0,4095", LIMIT) - values[..., None] / 4095 * 255).max() <= 0.51
    if not options:
        with tifffile.TiffFile(BytesIO(data)) as whole:
            (start,), (size,) = whole.pages[0].dataoffsets, whole.pages[0].databytecounts
        strip = zlib.compress(data[start : start + size])
        data = bare({256: width, 257: 40, 258: 12, 259: 8, 262: 1, 273: 8, 277: 1, 278: 40, 279: len(strip)}, strip)
        assert np.abs(decode(data, "0,4095", LIMIT) - values[..., None] / 4095 * 255).max() <= 0.51
    assert (tifffile.imread(BytesIO(data)) == values).all()


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("largest", [None, 3000])
def test_white_is_zero_below_the_largest_value(bits: int, largest: int | None) -> None:
    """As libtiff shows it, in OpenCV; MinSampleValue and MaxSampleValue are statistics, which say nothing of it."""
    values = np.random.default_rng(0).integers(0, 2**bits, (40, 50)).astype(np.uint16)
    tags = [(280, 3, 1, 9, True), (281, 3, 1, largest, True)] if largest else []
    data = written(values, photometric="miniswhite", bitspersample=bits, extratags=tags)
    assert (tifffile.imread(BytesIO(data)) == values).all()
    expected = 255 - values[..., None] / (2**bits - 1) * 255
    assert np.abs(decode(data, f"0,{2**bits - 1}", LIMIT) - expected).max() <= 0.51


@pytest.mark.parametrize("order", ["<", ">"])
def test_inks_of_sixteen_bits(order: str) -> None:
    inks = np.random.default_rng(0).integers(0, 65536, (40, 50, 4), np.uint16)
    data = written(inks, photometric="separated", byteorder=order)
    expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    assert (decode(data, PERCENTILES, LIMIT) == expected).all()
    separate = written(np.moveaxis(inks, 2, 0), photometric="separated", planarconfig="separate", byteorder=order)
    assert (decode(separate, PERCENTILES, LIMIT) == expected).all()


@pytest.mark.parametrize("span", ["0,90", "5000,9000", "-9,-2", "5e3,1e9"])
def test_a_range_that_leaves_one_colour_is_named(span: str) -> None:
    values = RAMP[..., None].repeat(3, 2) + 100
    for data in (
        written(values.astype(np.uint16), photometric="rgb"),
        written(values[..., 0].astype(np.uint16)),
        written(values[..., 0].astype(np.float32)),
        cv2.imencode(".png", values.astype(np.uint16))[1].tobytes(),
        cv2.imencode(".png", values[..., 0].astype(np.uint16))[1].tobytes(),
    ):
        with pytest.raises(UnusableSample, match=f"^--range {span} makes all .* one colour: values are 100 to 2099$"):
            decode(data, span, LIMIT)
    clear = np.dstack([values, np.zeros((40, 50))]).astype(np.uint16)
    for data in (written(clear, photometric="rgb", extrasamples=[2]), cv2.imencode(".png", clear)[1].tobytes()):
        assert (decode(data, "0,9000", LIMIT) == 255).all()  # by its transparency
    flat = np.full((40, 50, 3), [7, 700, 70], np.uint16)
    assert not decode(written(flat, photometric="rgb"), "5000,9000", LIMIT).any()


def test_no_number_stays_black_and_the_first_page_counts() -> None:
    values = RAMP.astype(np.float64)
    values[0, :2] = [np.nan, np.inf]
    file = BytesIO()
    tifffile.imwrite(file, np.stack([values, values]), photometric="minisblack")
    made = decode(file.getvalue(), "0,1999", LIMIT)
    assert made[0, :2, 0].tolist() == [0, 255]
    assert np.abs(made[1:] - values[1:, :, None] / 1999 * 255).max() <= 0.51
    widest = written(np.array([[np.finfo(np.float64).min, 0, np.finfo(np.float64).max]] * 9))
    assert decode(widest, "0%,100%", LIMIT)[0, :, 0].tolist() == [0, 128, 255]


# --- damage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compression", [None, "lzw", "deflate", "packbits", "zstd", "lzma"])
@pytest.mark.parametrize("options", [{"rowsperstrip": 10}, {"tile": (16, 16)}])
def test_damage(compression: str | None, options: dict[str, object], capfd: pytest.CaptureFixture[str]) -> None:
    """A file cut short, a strip that was never written, one with nothing in it, one that is missing."""
    noise = np.random.default_rng(0).integers(0, 65536, (40, 50), np.uint16)
    data = written(noise, compression=compression, photometric="minisblack", **options)
    assert (decode(data, "0,65535", LIMIT) == np.round(noise / 257)[..., None]).all()
    with tifffile.TiffFile(BytesIO(data)) as file:
        page = file.pages[0]
        tags = [page.tags[324 if "tile" in options else 273], page.tags[325 if "tile" in options else 279]]
        start, size = page.dataoffsets[1], page.databytecounts[1]
        where = [tag.valueoffset for tag in tags]
        width = {3: 2, 4: 4}[int(tags[1].dtype)]  # bytes of SHORT and LONG
    empty = data[: where[1]] + bytes(width) + data[where[1] + width :]
    far = data[: where[0]] + b"\xff" * 4 + data[where[0] + 4 :]
    short = data[: start + size // 2]
    for broken in (far, short, empty):
        with pytest.raises(UnusableSample):
            decode(broken, PERCENTILES, LIMIT)
    if compression in ("lzw", "deflate", "zstd", "lzma"):
        with pytest.raises(UnusableSample):
            decode(data[:start] + bytes(size) + data[start + size :], PERCENTILES, LIMIT)


GRAY = np.random.default_rng(1).integers(1, 256, (64, 64), np.uint8)
COLOUR = np.dstack([GRAY, GRAY[::-1], GRAY.T])
STRIPS, PLANES = {"rowsperstrip": 16}, {"planarconfig": "separate"}
BLOCKS: dict[str, tuple[np.ndarray, dict[str, object]]] = {
    "gray": (GRAY, STRIPS),
    "bits": (GRAY > 128, STRIPS),
    "palette": (GRAY, {"photometric": "palette", "colormap": np.arange(768, dtype=np.uint16).reshape(3, -1), **STRIPS}),
    "tiles": (COLOUR, {"photometric": "rgb", "tile": (16, 16)}),
    "planes": (np.moveaxis(COLOUR, 2, 0), {"photometric": "rgb", **PLANES}),
    "inks": (np.dstack([COLOUR, GRAY]), {"photometric": "separated", **STRIPS}),
    "band": (np.dstack([COLOUR, GRAY, GRAY]), {"photometric": "rgb", "extrasamples": [0, 0], **STRIPS}),
    "deep": (GRAY.astype(np.uint16) * 257, STRIPS),
    "deep tiles": (COLOUR.astype(np.float32), {"photometric": "rgb", "tile": (16, 16)}),
    "LZW": (GRAY, {"compression": "lzw", **STRIPS}),
    "Deflate": (COLOUR, {"photometric": "rgb", "compression": "deflate", "tile": (16, 16)}),
    "deep Deflate": (GRAY.astype(np.uint16), {"compression": "deflate", **STRIPS}),
    "JPEG": (GRAY, {"compression": "jpeg", **STRIPS}),
}


def test_blocks_that_are_not_there() -> None:
    """Never written (GDAL's SPARSE_OK), too short, beyond the end, or not in the list; no bytes of others are shown."""
    for kind, (values, options) in BLOCKS.items():
        data = written(values, **options)
        with tifffile.TiffFile(BytesIO(data)) as file:
            tags = file.pages[0].tags
            starts, sizes = (tags[324], tags[325]) if "tile" in options else (tags[273], tags[279])

        def changed(data: bytes, tag: tifffile.TiffTag, number: int, first: int = 1, last: int = 2) -> bytes:
            width = {3: 2, 4: 4}[int(tag.dtype)]
            at, end = (tag.valueoffset + width * i for i in (first, last))
            return data[:at] + number.to_bytes(width, "little") * (last - first) + data[end:]

        intact = decode(data, PERCENTILES, LIMIT)
        sparse = changed(changed(data, starts, 0), sizes, 0)
        missing = tifffile.imread(BytesIO(sparse)) == 0
        assert missing.mean() > 0.05  # what tifffile puts there
        for broken in (sparse, changed(data, sizes, 0)):
            with pytest.raises(UnusableSample, match=r"TIFF of strips or tiles without data \(sparse\) is not read"):
                decode(broken, PERCENTILES, LIMIT)
        fewer = data[: starts.offset + 4] + (starts.count - 1).to_bytes(4, "little") + data[starts.offset + 8 :]
        beyond = changed(data, starts, min(len(data) + 9, 65535))
        for broken in (changed(data, sizes, 9), beyond, fewer if starts.count > 2 else beyond):
            with pytest.raises(UnusableSample):
                decode(broken, PERCENTILES, LIMIT)
        if "compression" not in options:  # the sizes of all are left out: libtiff and Pillow know them nevertheless
            uncounted = changed(data, sizes, 0, 0, sizes.count)
            assert (decode(uncounted, PERCENTILES, LIMIT) == intact).all(), kind


def test_a_palette_of_eight_bits() -> None:
    palette = np.random.default_rng(2).integers(0, 256, (3, 256), np.uint16)
    data = written(GRAY, photometric="palette", colormap=palette)
    shown = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # libtiff
    assert (shown == np.moveaxis(palette[:, GRAY], 0, 2)).all()
    assert (decode(data, PERCENTILES, LIMIT) == shown).all()


def test_pixels_are_counted_before_memory_is_allocated() -> None:
    def header(width: int, height: int, **other: int) -> bytes:
        tags = {256: width, 257: height, 258: 64, 259: 8, 262: 1, 273: 8, 277: 1, 278: height, 279: 9, 339: 3}
        return bare(tags | {int(name[1:]): value for name, value in other.items()}, bytes(9))

    with pytest.raises(UnusableSample, match="60000 x 60000 pixels, each counted 3 times"):
        decode(header(60_000, 60_000), PERCENTILES, LIMIT)
    with pytest.raises(UnusableSample, match="60000 x 50000 pixels"):
        decode(header(9, 9, t322=60_000, t323=50_000, t324=8, t325=9), PERCENTILES, LIMIT)
    with pytest.raises(UnusableSample, match="compressed strip or tile of more than 67108864 bytes"):
        decode(header(4_000, 4_000), PERCENTILES, LIMIT)
    values = np.zeros((40, 50, 4), np.float64)
    with pytest.raises(UnusableSample, match="each counted 11 times"):
        decode(written(values, photometric="rgb", extrasamples=["unassalpha"]), PERCENTILES, 11 * 2000 - 1)
    assert decode(written(values, photometric="rgb", extrasamples=["unassalpha"]), PERCENTILES, 11 * 2000).shape
