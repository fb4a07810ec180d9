"""What a file says about its pixels, and what is made of it: colour profiles nothing, an orientation all."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO

import av
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.image.decode import decode

LIMIT = 50_000_000
DRAWN = np.random.default_rng(5).integers(0, 256, (6, 9, 3), np.uint8).repeat(8, 0).repeat(8, 1)  # (48, 72, 3)
STORED = np.ascontiguousarray(np.rot90(DRAWN, 1))  # as a camera held upright stores it: orientation 6
LINEAR = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
KINDS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "deep TIFF")


def packet(orientation: int, element: bool) -> bytes:
    """XMP that sets an orientation, as an element or as an attribute."""
    inside = f"<tiff:Orientation>{orientation}</tiff:Orientation>"
    return described("", inside) if element else described(f'tiff:Orientation="{orientation}"', "")


def described(attributes: str, inside: str, prefix: str = "tiff", head: str = "") -> bytes:
    """XMP with these attributes and elements of the image."""
    return f"""{head}<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""
xmlns:{prefix}="http://ns.adobe.com/tiff/1.0/" {attributes}>{inside}</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>""".encode()


def saved(kind: str, xmp: bytes = b"", orientation: int = 0, profile: bytes | None = None) -> bytes:
    stream, exif = BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    if kind == "deep TIFF":
        tags = [(700, 1, len(xmp), xmp, True)] * bool(xmp) + [(274, 3, 1, orientation, True)] * bool(orientation)
        deep = STORED.astype(np.uint16) * 257
        tifffile.imwrite(stream, deep, photometric="rgb", metadata=None, extratags=tags, iccprofile=profile)
        return stream.getvalue()
    info = PngInfo()
    info.add_itxt("XML:com.adobe.xmp", xmp.decode())
    options = {
        "PNG": {"pnginfo": info},
        "TIFF": {"tiffinfo": {700: xmp, **({274: orientation} if orientation else {})}},
        "WEBP": {"lossless": True},
    }.get(kind, {})
    given = {"xmp": xmp} if xmp and kind in ("JPEG", "WEBP", "AVIF") else {}
    quality = {"quality": 100, "subsampling": "4:4:4"} if kind in ("JPEG", "AVIF") else {}
    Image.fromarray(STORED).save(
        stream, kind, **(options if xmp or kind == "WEBP" else {}), **given, **quality, icc_profile=profile,
        **({"exif": exif} if orientation else {}),
    )  # fmt: skip
    return stream.getvalue()


def shown(data: bytes) -> np.ndarray:
    return decode(data, "0,65535", LIMIT)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("element", [False, True])
def test_an_orientation_in_xmp_counts(kind: str, element: bool) -> None:
    made = shown(saved(kind, packet(6, element)))
    assert made.shape == DRAWN.shape
    assert np.abs(made.astype(float) - DRAWN).mean() < 8


ELEMENT = "<tiff:Orientation>6</tiff:Orientation>"
ENTITIES = '<!DOCTYPE x [<!ENTITY a "6">]>'
PART = f"<tiff:Parts><rdf:Bag><rdf:li><rdf:Description>{ELEMENT}</rdf:Description></rdf:li></rdf:Bag></tiff:Parts>"


def test_xmp_is_read_as_xml() -> None:
    """What counts is written in any way that XML allows; what is in a comment or of another image counts nothing."""
    counting = (
        described("tiff:Orientation='6'", ""),
        described('tiff:Orientation = "6"', ""),
        described('q:Orientation="6"', "", "q"),
        described("", "<tiff:Orientation>\n 6 </tiff:Orientation>"),
        described("", f"<!-- tiff:Orientation='3' -->{ELEMENT}"),
        described("", ELEMENT) + b" " * 3000 + b"\0",
        described("", ELEMENT.replace("6", "&#54;")),
    )
    nothing = (
        described("", f"<!-- {ELEMENT} -->"),
        described("", f"<tiff:Make><![CDATA[{ELEMENT}]]></tiff:Make>"),
        described("", f"<tiff:Make>{ELEMENT.replace('<', '&lt;')}</tiff:Make>"),
        described("", PART),
        described("", ELEMENT.replace("6", "&a;"), head=ENTITIES),
        described("", ELEMENT.replace("6", "66")),
        described("", ELEMENT.replace("6", "\u0666")),
        described("", ELEMENT)[:-60],
        described("", ELEMENT).replace(b"tiff/1.0", b"tiff/2.0"),
    )
    for kind in ("JPEG", "PNG", "TIFF", "deep TIFF"):
        for xmp in counting:
            assert shown(saved(kind, xmp)).shape == DRAWN.shape, (kind, xmp)
        for xmp in nothing:
            assert shown(saved(kind, xmp)).shape == STORED.shape, (kind, xmp)


def test_xmp_after_the_pixels() -> None:
    data = saved("PNG", described("tiff:Orientation='6'", ""))
    start = data.index(b"iTXt") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    assert shown(data[:start] + data[end:-12] + data[start:end] + data[-12:]).shape == DRAWN.shape


@pytest.mark.parametrize("kind", KINDS)
def test_exif_goes_before_xmp(kind: str) -> None:
    made = shown(saved(kind, packet(3, False), 6))
    assert made.shape == DRAWN.shape
    assert np.abs(made.astype(float) - DRAWN).mean() < 8


@pytest.mark.parametrize("kind", KINDS)
def test_colour_profiles_are_not_applied(kind: str) -> None:
    """The numbers of the file are those of the row, as OpenCV reads them too."""
    data = saved(kind, profile=LINEAR)
    assert LINEAR[40:80] in data or kind == "PNG"  # where it is compressed
    assert Image.open(BytesIO(data)).info.get("icc_profile") == LINEAR or kind == "deep TIFF"
    assert (shown(data) == shown(saved(kind))).all()
    other = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    assert np.abs(shown(data).astype(float) - other).max() <= 2


def codes_in_png(data: bytes, transfer: int, primaries: int) -> bytes:
    body = b"cICP" + bytes([primaries, transfer, 0, 1])
    return data[:33] + b"\0\0\0\4" + body + zlib.crc32(body).to_bytes(4, "big") + data[33:]


def codes_in_avif(data: bytes, transfer: int, primaries: int) -> bytes:
    at = data.index(b"colrnclx") + 8
    return data[:at] + struct.pack(">HH", primaries, transfer) + data[at + 4 :]


@pytest.mark.parametrize("kind", ["PNG", "AVIF"])
def test_high_dynamic_range_is_refused_by_name(kind: str) -> None:
    data, change = saved(kind), {"PNG": codes_in_png, "AVIF": codes_in_avif}[kind]
    assert (shown(change(data, 13, 1)) == shown(data)).all()
    assert (shown(change(data, 13, 12)) == shown(data)).all()  # P3 is as little converted as a profile
    for transfer, primaries, name in (
        (16, 9, "PQ, BT.2020"), (18, 9, "HLG, BT.2020"), (16, 1, "PQ"), (14, 9, "BT.2020"), (8, 1, "linear"),
        (9, 1, "logarithmic"), (10, 2, "logarithmic"),
    ):  # fmt: skip
        changed = change(data, transfer, primaries)
        with av.open(BytesIO(changed)) as container:
            assert int(container.streams.video[0].codec_context.color_trc) == transfer
        with pytest.raises(UnusableSample, match=rf"^HDR or wide gamut \({name}\) is not read; convert it: ffmpeg"):
            shown(changed)


def test_codes_of_other_parts_of_the_file_do_not_count() -> None:
    plain = saved("AVIF")
    other = codes_in_avif(plain, 16, 9)[plain.index(b"colrnclx") :][:15]
    assert (shown(plain + struct.pack(">I", 23) + b"free" + other) == shown(plain)).all()
    png = saved("PNG")
    assert (shown(png[:-12] + codes_in_png(png, 16, 9)[33:49] + png[-12:]) == shown(png)).all()  # after the pixels


def test_what_the_compressed_data_says_counts_where_the_file_says_nothing() -> None:
    stream = BytesIO()
    with av.open(stream, "w", format="avif") as out:
        encoder = out.add_stream("libsvtav1", rate=1)
        encoder.width, encoder.height, encoder.pix_fmt = 72, 48, "yuv420p10le"
        encoder.codec_context.color_trc, encoder.codec_context.color_primaries = 16, 9
        out.mux(encoder.encode(av.VideoFrame.from_ndarray(DRAWN, format="rgb24")))
        out.mux(encoder.encode(None))
    with pytest.raises(UnusableSample, match=r"\(PQ, BT.2020\)"):
        shown(stream.getvalue().replace(b"colrnclx", b"freenclx"))
