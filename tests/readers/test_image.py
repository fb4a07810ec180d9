"""Pictures of every kind: which are used, which are not and why, and that the used ones look as they should."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from pseudolabel import TASKS
from pseudolabel.contracts import Extent, Sample, Skipped, Split, UnusableSample, chance_for
from pseudolabel.readers.image.decode import decode
from pseudolabel.readers.image.reader import ImageOptions, ImageReader
from pseudolabel.tasks.base.task import Rows
from pseudolabel.transforms.image.codec import encode_jpeg
from pseudolabel.transforms.image.color import to_gray
from pseudolabel.transforms.image.ops import resize

SHARED = Path(__file__).parents[3] / "shared" / "data" / "images"
ALL = Split("train", 0.0, 1.0)
USED, IGNORED = "used", "ignored by its type"
LIMIT = 50_000_000

# file -> used, ignored, or what the reason for leaving it out says
HARD = {
    "exif/LICENSE": IGNORED,
    "exif/Landscape_1.jpg": USED,
    "exif/Landscape_3.jpg": USED,
    "exif/Landscape_6.jpg": USED,
    "exif/Landscape_8.jpg": USED,
    "image_rs/LICENSE-MIT": IGNORED,
    "image_rs/basn6a16.png": USED,
    "pillow/10ct_32bit_128.tiff": USED,
    "pillow/12bit.cropped.tif": USED,
    "pillow/16_bit_noise.tif": USED,
    "pillow/1_trns.png": USED,
    "pillow/LICENSE": IGNORED,
    "pillow/anim_frame1.webp": USED,
    "pillow/apng_single_frame.png": USED,
    "pillow/bad_palette_entry.gpl": IGNORED,
    "pillow/broken.png": "not an image of a known format, or its header is broken",
    "pillow/broken_data_stream.png": "unrecognized data stream contents",
    "pillow/broken_exif_dpi.jpg": USED,
    "pillow/decompression_bomb.gif": "pixels, above --max-pixels 50000000",
    "pillow/decompression_bomb.ico": IGNORED,
    "pillow/dispose_bgnd.gif": USED,
    "pillow/dispose_prev.gif": USED,
    "pillow/empty_gps_ifd.jpg": USED,
    "pillow/exif.png": USED,
    "pillow/exif_typeerror.jpg": USED,
    "pillow/hopper.ppm": IGNORED,
    "pillow/hopper.psd": IGNORED,
    "pillow/hopper_16bit.pgm": IGNORED,
    "pillow/hopper_16bit_plain.pgm": IGNORED,
    "pillow/hopper_1bit.pbm": IGNORED,
    "pillow/hopper_float_dpi_2.tif": USED,
    "pillow/hopper_gray.jpg": USED,
    "pillow/hopper_lzma.tif": USED,
    "pillow/hopper_orientation_2.jpg": USED,
    "pillow/hopper_orientation_6.jpg": USED,
    "pillow/hopper_orientation_6.webp": USED,
    "pillow/hopper_webp.tif": "TIFF of 8-bit integers with compression 50001 is not read",  # WebP
    "pillow/i_trns.png": USED,
    "pillow/invalid-exif.jpg": USED,
    "pillow/iss634.gif": USED,
    "pillow/iss634.webp": USED,
    "pillow/multipage.tiff": USED,
    "pillow/negative_size.ppm": IGNORED,
    "pillow/no_palette.gif": USED,
    "pillow/p_trns_single.png": USED,
    "pillow/pil_sample_cmyk.jpg": USED,
    "pillow/rgb_trns.png": USED,
    "pillow/tiff_16bit_RGB_target.png": USED,
    "pillow/transparent.png": USED,
    "pillow/truncated_app14.jpg": USED,  # a stray byte in the header; the picture is whole
    "pillow/truncated_end_chunk.png": "Truncated File Read",
    "pillow/truncated_image.png": "image file is truncated",
    "pillow/truncated_jpeg.jpg": "truncated JPEG",
    "pillow/unimplemented_dxgi_format.dds": IGNORED,
    "pillow/unknown_compression_method.png": "not an image of a known format, or its header is broken",
    "pillow/zero_height.j2k": IGNORED,
    "sharp/65536-uint32-limit.png": "65536 x 65536 pixels, above --max-pixels 50000000",
    "sharp/LICENSE": IGNORED,
    "sharp/cmyk_no_profile.jpg": USED,
    "sharp/corrupt-header.jpg": "cannot read the header",
    "sharp/grey-8bit-alpha.png": USED,
    "sharp/tbgn2c16.png": USED,
    "sharp/truncated.jpg": "truncated JPEG",
    "sharp/truncated.png": "image file is truncated",
}
DRAWN = np.random.default_rng(5).integers(0, 256, (6, 9, 3), np.uint8).repeat(8, 0).repeat(8, 1)  # (48, 72, 3)


def read(path: Path, **options: object) -> Sample | Skipped | None:
    """What the reader makes of a file; None where it is no candidate."""
    reader = ImageReader(ImageOptions(**options))  # type: ignore[arg-type]
    if not path.name.lower().endswith(tuple(reader.suffixes)):
        return None
    (made,) = reader.read(reader.scan(path.name, str(path), path.stat().st_size), ALL)
    return made


def rgb(data: bytes, span: str = "0.5%,99.5%") -> np.ndarray:
    return decode(data, span, LIMIT)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def far(one: np.ndarray, other: np.ndarray) -> float:
    """The mean difference of two pictures of one size."""
    assert one.shape == other.shape
    return float(np.abs(one.astype(float) - other).mean())


# --- real files ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(name for name in TASKS if ".jpg" in TASKS[name]().reader().suffixes))
def test_every_task_uses_hard_pictures_or_says_why_not(name: str, tmp_path: Path) -> None:
    """What the reader uses makes rows, unless it is too small for the task or has nothing to tell."""
    if not SHARED.exists():
        pytest.skip("the shared data is not present")
    task = TASKS[name]()
    reader, seen = task.reader(), {}

    def samples(key: str) -> Iterator[Sample]:
        path = SHARED / "hard" / key
        extents = list(reader.scan(key, str(path), path.stat().st_size))
        return (item for item in reader.read(extents, ALL) if isinstance(item, Sample))

    used = (key for key in HARD if HARD[key] == USED and task.observed_megabytes)
    task.fit((array for key in used for array in task.observe(samples(key))), tmp_path, np.random.default_rng(0))
    for key in HARD:
        if HARD[key] != IGNORED:
            made = list(task.labeler(tmp_path).label(samples(key), chance_for(0, name), 1))
            seen[key] = [item.reason for item in made if isinstance(item, Skipped) and item.count]
            assert sum(item.count for item in made) == (HARD[key] == USED)
            assert bool(seen[key]) or all(len(item.rows) for item in made if isinstance(item, Rows))
    told = {reason for reasons in seen.values() for reason in reasons}
    own = "too small|too narrow|no colour: a and b are at most|looks the same upside down|blank: all pixels"
    assert all(re.search(own, reason) for reason in told)
    assert sum(map(bool, seen.values())) < 15


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not present")
def test_the_table_has_every_hard_file() -> None:
    folder = SHARED / "hard"
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == set(HARD)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not present")
@pytest.mark.parametrize("name", HARD)
def test_hard_file(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path, expected = SHARED / "hard" / name, HARD[name]
    made = read(path)
    assert capfd.readouterr() == ("", "")
    if expected is IGNORED:
        assert made is None
    elif expected is USED:
        assert isinstance(made, Sample)
        assert made.payload.dtype == np.uint8
        assert far(made.payload, other_decoder(path)) < 1
    else:
        assert isinstance(made, Skipped)
        assert made.unusable
        assert expected in made.reason


def other_decoder(path: Path) -> np.ndarray:
    """The same picture by the library that ours does not use for it, and by arithmetic of its own."""
    data = path.read_bytes()
    if path.name == "10ct_32bit_128.tiff":  # raw floats after 8 bytes
        return scaled(np.frombuffer(data, "<f4", 128 * 128, 8).reshape(128, 128, 1).repeat(3, 2))
    if path.name == "hopper_lzma.tif":  # OpenCV cannot; the same picture lies beside it
        data = path.with_name("hopper_float_dpi_2.tif").read_bytes()
    if data.startswith(b"\xff\xd8") and "cmyk" not in path.name:
        return np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB"))
    buffer = np.frombuffer(data, np.uint8)
    raw = cv2.imdecode(buffer, cv2.IMREAD_UNCHANGED)
    if raw.dtype == np.uint16:
        colour = scaled(raw[..., 2::-1] if raw.ndim == 3 else raw[..., None].repeat(3, 2))
    else:
        colour = cv2.imdecode(buffer, cv2.IMREAD_COLOR)[..., ::-1]
        colour = np.rot90(colour, -1) if "orientation_6" in path.name else colour
    if raw.ndim == 3 and raw.shape[2] == 4:
        share = raw[..., 3:] / np.iinfo(raw.dtype).max
        colour = (scaled(raw[..., 2::-1]) if raw.dtype == np.uint16 else raw[..., 2::-1]) * share + 255 * (1 - share)
    return colour


def scaled(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, [0.5, 99.5])
    return np.clip((values - low) / (high - low), 0, 1) * 255


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not present")
def test_orientations_of_one_photograph_look_alike() -> None:
    first, *others = (read(SHARED / "hard" / "exif" / f"Landscape_{i}.jpg").payload for i in (1, 3, 6, 8))  # type: ignore[union-attr]
    small = cv2.resize(first, (60, 40), interpolation=cv2.INTER_AREA)
    for other in others:
        assert far(cv2.resize(other, (60, 40), interpolation=cv2.INTER_AREA), small) < 3


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not present")
def test_every_ordinary_picture_is_used() -> None:
    files = [path for name in ("clothing", "kodak", "sign_digits") for path in (SHARED / name).rglob("*.*")]
    assert len(files) == 804
    assert {type(read(path)) for path in files} == {Sample}


# --- drawn files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(kind: str, orientation: int) -> None:
    # what a camera held that way stores: turned back by hand, case by case
    stored = {
        1: DRAWN,
        2: np.fliplr(DRAWN),
        3: np.rot90(DRAWN, 2),
        4: np.flipud(DRAWN),
        5: DRAWN.swapaxes(0, 1),
        6: np.rot90(DRAWN, 1),
        7: np.rot90(DRAWN, 2).swapaxes(0, 1),
        8: np.rot90(DRAWN, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(stored)), kind, exif=exif, quality=95)
    assert far(rgb(data), DRAWN) < 16  # JPEG's halved colour costs 8; a wrong turn costs 80


def deep_tiff(values: np.ndarray, orientation: int) -> bytes:
    """A bare TIFF of (H, W, 3) uint16."""
    height, width, _ = values.shape
    short, long = 3, 4
    entries = [(256, short, 1, width), (257, short, 1, height), (258, short, 3, 134), (259, short, 1, 1)]
    entries += [(262, short, 1, 2), (273, long, 1, 140), (274, short, 1, orientation), (277, short, 1, 3)]
    entries += [(278, short, 1, height), (279, long, 1, values.nbytes)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    return (b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<HHH", 16, 16, 16)).ljust(140, b"\0") + (
        values.astype("<u2").tobytes()
    )


@pytest.mark.parametrize(("orientation", "turns"), [(1, 0), (3, 2), (6, 1), (8, -1)])
def test_orientation_of_a_deep_tiff(orientation: int, turns: int) -> None:
    data = deep_tiff(np.rot90(DRAWN.astype(np.uint16) * 257, turns), orientation)
    assert far(rgb(data, "0,65535"), DRAWN) < 1


def test_gray_fills_the_channels() -> None:
    plane = DRAWN[..., 0]
    for data in (saved(Image.fromarray(plane), "PNG"), cv2.imencode(".bmp", plane)[1].tobytes()):
        assert (rgb(data) == plane[..., None]).all()
    bits = Image.fromarray(plane > 127)
    assert (rgb(saved(bits, "PNG")) == 255 * (plane > 127)[..., None]).all()


def test_palettes_are_looked_up() -> None:
    picture = Image.fromarray(DRAWN).quantize(64)
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert (rgb(saved(picture, kind)) == np.asarray(picture.convert("RGB"))).all()


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_alpha_is_matted_on_white(kind: str) -> None:
    alpha = np.tile(np.uint8([0, 51, 255]), (48, 24))
    data = saved(Image.fromarray(np.dstack([DRAWN, alpha])), kind, lossless=True, exact=True)
    share = alpha[..., None] / 255
    assert far(rgb(data), DRAWN * share + 255 * (1 - share)) < 0.6


def test_transparent_colours_become_white() -> None:
    plane = (np.arange(48 * 72).reshape(48, 72) % 200).astype(np.uint16) * 300
    data = saved(Image.fromarray(plane), "PNG", transparency=3000)
    made = rgb(data, "0,65535")
    assert (made[plane == 3000] == 255).all()
    assert far(made[plane != 3000], (plane[plane != 3000] / 257)[:, None].repeat(3, 1)) < 0.5


def test_cmyk_becomes_rgb() -> None:
    ink = np.zeros((48, 72, 4), np.uint8)
    ink[:, :24, 0] = ink[:, 24:48, 1] = ink[:, 48:, 3] = 255  # cyan, magenta, black
    for kind in ("TIFF", "JPEG"):
        made = rgb(saved(Image.fromarray(ink, "CMYK"), kind))
        assert far(made[20, [10, 36, 62]], np.array([[0, 255, 255], [255, 0, 255], [0, 0, 0]])) < 3


RAMP = np.linspace(1000, 3000, 48 * 72).reshape(48, 72)


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(RAMP.astype(np.uint16)), "PNG"),
        saved(Image.fromarray(RAMP.astype(np.uint16)), "TIFF"),
        saved(Image.fromarray(RAMP.astype(np.int32)), "TIFF"),
        saved(Image.fromarray(RAMP.astype(np.float32)), "TIFF"),
        cv2.imencode(".png", RAMP.astype(np.uint16)[..., None].repeat(3, 2))[1].tobytes(),
        cv2.imencode(".tiff", RAMP.astype(np.uint16)[..., None].repeat(3, 2))[1].tobytes(),
    ],
    ids=["gray png", "gray tiff", "int32 tiff", "float tiff", "colour png", "colour tiff"],
)
def test_range_of_deep_pictures(data: bytes) -> None:
    for span, low, high in (
        ("0,4000", 0, 4000),
        ("1500,2500", 1500, 2500),
        ("10%,90%", 1200, 2800),
        ("0,100%", 0, 3000),
    ):
        expected = np.clip((RAMP - low) / (high - low), 0, 1) * 255
        assert far(rgb(data, span), expected[..., None].repeat(3, 2)) < 1
    assert rgb(data).min() == 0
    assert rgb(data).max() == 255


def test_deep_colours_keep_their_channels_and_alpha() -> None:
    alpha = np.full((48, 72, 1), 0x8000, np.uint16)
    bgra = np.dstack([DRAWN[..., ::-1].astype(np.uint16) * 257, alpha])
    made = rgb(cv2.imencode(".png", bgra)[1].tobytes(), "0,65535")
    assert far(made, DRAWN / 2 + 127.5) < 1


def test_floats_that_are_no_numbers_and_constant_pictures() -> None:
    values = RAMP.astype(np.float32)
    values[0, :3] = [np.nan, np.inf, -np.inf]
    made = rgb(saved(Image.fromarray(values), "TIFF"), "1000,3000")
    assert made[0, :3, 0].tolist() == [0, 255, 0]
    assert (rgb(saved(Image.fromarray(np.full((9, 9), 700, np.uint16)), "PNG")) == 0).all()
    specks = np.zeros((99, 99), np.uint16)
    specks[5, 5] = 700  # between the same percentiles, and yet no constant picture
    assert rgb(saved(Image.fromarray(specks), "PNG"))[5, 5].tolist() == [255, 255, 255]
    with pytest.raises(UnusableSample, match="no finite pixel"):
        rgb(saved(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF"))


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "GIF"])
def test_the_first_frame_counts(kind: str) -> None:
    first, second = (Image.new("RGB", (40, 30), colour) for colour in ("red", "blue"))
    data = saved(first, kind, save_all=True, append_images=[second])
    assert far(rgb(data), np.full((30, 40, 3), [255, 0, 0])) < 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9, 0.98])
def test_a_file_cut_short_is_unusable(kind: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8))
    data = saved(noise, kind)
    assert rgb(data).shape == (100, 150, 3)
    with pytest.raises(UnusableSample):
        rgb(data[: int(len(data) * share)])


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}])
def test_a_jpeg_cut_short_is_unusable_and_one_with_a_white_ground_is_not(options: dict[str, int]) -> None:
    ground = np.full((160, 240, 3), 255, np.uint8)
    ground[20:68, 20:92] = DRAWN
    data = saved(Image.fromarray(ground), "JPEG", **options)
    assert far(rgb(data), ground) < 3
    with pytest.raises(UnusableSample, match="truncated JPEG"):
        rgb(data[:-2])
    with pytest.raises(UnusableSample, match="truncated JPEG"):
        rgb(data[: len(data) // 2])


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_jpeg_with_its_end_marker_put_back_is_still_unusable(share: float) -> None:
    data = saved(Image.fromarray(np.random.default_rng(1).integers(0, 256, (100, 150, 3), np.uint8)), "JPEG")
    with pytest.raises(UnusableSample, match="its data ends before the image is complete"):
        rgb(data[: int(len(data) * share)] + b"\xff\xd9")


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "photo.JPG"
    path.write_bytes(saved(Image.fromarray(DRAWN), "PNG"))
    made = read(path)
    assert isinstance(made, Sample)
    assert (made.payload == DRAWN).all()


def test_unreadable_files(tmp_path: Path) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("not a picture")
    assert read(tmp_path / "empty.jpg") == Skipped("empty.jpg", "empty file")
    assert read(tmp_path / "text.png").reason.startswith("not an image")  # type: ignore[union-attr]
    gone = Extent("gone.jpg", str(tmp_path / "gone.jpg"), 0, None, 9)
    assert list(ImageReader(ImageOptions()).read([gone], ALL)) == [Skipped("gone.jpg", "gone since the scan")]
    folder = Extent("folder.jpg", str(tmp_path), 0, None, 9)
    with pytest.raises(IsADirectoryError):  # stands for a disk that fails: no fault of the picture's
        list(ImageReader(ImageOptions()).read([folder], ALL))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF"])
def test_the_limit_on_pixels(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(saved(Image.fromarray(DRAWN), kind))
    assert isinstance(read(path, max_pixels=48 * 72), Sample)
    assert read(path, max_pixels=48 * 72 - 1) == Skipped("a.jpg", "72 x 48 pixels, above --max-pixels 3455")


def test_pixels_that_take_twice_the_memory_count_twice(tmp_path: Path) -> None:
    deep = cv2.imencode(".png", DRAWN.astype(np.uint16))[1].tobytes()
    for data in (saved(Image.fromarray(DRAWN), "WEBP"), saved(Image.fromarray(np.float32(RAMP)), "TIFF"), deep):
        (tmp_path / "a.png").write_bytes(data)
        assert isinstance(read(tmp_path / "a.png", max_pixels=2 * 48 * 72), Sample)
        assert "counted twice" in read(tmp_path / "a.png", max_pixels=2 * 48 * 72 - 1).reason  # type: ignore[union-attr]


def test_extents_are_pulled_one_by_one_and_other_splits_left_unopened(tmp_path: Path) -> None:
    pulled = []

    def extents() -> object:
        for name in ("a.png", "b.png"):
            (tmp_path / name).write_bytes(saved(Image.fromarray(DRAWN), "PNG"))
            pulled.append(name)
            yield Extent(name, str(tmp_path / name), 0, None, 9)

    made = ImageReader(ImageOptions()).read(extents(), ALL)  # type: ignore[arg-type]
    assert (next(made).key, pulled) == ("a.png", ["a.png"])
    missing = Extent("x.png", "/nowhere", 0, None, 1)
    assert list(ImageReader(ImageOptions()).read([missing], Split("validation", 0.0, 0.0))) == []


# --- operations ------------------------------------------------------------------------------------------------------


def test_resize_keeps_the_mean_and_the_place() -> None:
    image = np.zeros((300, 500, 3), np.uint8)
    image[:150, :250] = 200
    for size in ((30, 50), (70, 90), (600, 1000)):
        small = resize(image, *size)
        assert small.shape == (*size, 3)
        assert abs(small.mean() - 50) < 1
        assert small[size[0] // 4, size[1] // 4].tolist() == [200] * 3
        assert small[size[0] // 4, 3 * size[1] // 4].tolist() == [0] * 3


def test_shrinking_does_not_alias() -> None:
    stripes = np.tile(np.uint8([0, 0, 255, 255]), (400, 100))[..., None].repeat(3, 2)
    assert np.ptp(resize(stripes, 100, 100)) < 2


def test_codec_and_gray() -> None:
    data = encode_jpeg(DRAWN)
    assert far(np.asarray(Image.open(BytesIO(data))), DRAWN) < 3
    assert Image.open(BytesIO(data)).layer[0][1:3] == (1, 1)  # type: ignore[attr-defined] # 4:4:4
    expected = np.asarray(Image.fromarray(DRAWN).convert("L"))[..., None].repeat(3, 2)
    assert np.abs(to_gray(DRAWN).astype(int) - expected).max() <= 1
