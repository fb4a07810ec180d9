"""Reader of images: each file is one sample, (H, W, 3) uint8 RGB, upright."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from typer import Option

from pseudolabel.contracts import Extent, Options, Sample, Skipped, Split, UnusableSample, UserError, or_skipped
from pseudolabel.readers.image.decode import decode
from pseudolabel.readers.image.reduction import ReducedImage, Suffices, reduction
from pseudolabel.readers.image.tone import parse_span
from pseudolabel.readers.sources import formats
from pseudolabel.readers.sources.opening import open_file
from pseudolabel.storage.byte_ranges import file_size

PIXELS_HELP = "Skip images with more pixels. WebP, and more than 8 bits, count double (in TIFF: one pixel for 3 bytes)."
RANGE_HELP = "LO,HI: in images of more than 8 bits, LO becomes black and HI white; values (0,4095) or percentiles."
MAX_FILE_BYTES = 2**26  # bytes allowed even if --max-pixels is small: a file may hold more frames or metadata


@dataclass(frozen=True)
class ImageOptions(Options):
    """Options for reading images."""

    range: Annotated[str, Option(help=RANGE_HELP)] = "0.5%,99.5%"
    max_pixels: Annotated[int, Option(min=1, help=PIXELS_HELP)] = 50_000_000

    def __post_init__(self) -> None:
        super().__post_init__()
        try:
            parse_span(self.range)
        except ValueError:
            example = "type values like 0,4095 or percentiles like 0.5%,99.5%"
            raise UserError(f"--range {self.range!r} is not LO,HI with LO below HI; {example}") from None


class ImageReader:
    """Reader of images: a file is one extent, and an extent is one sample."""

    suffixes: frozenset[str] = formats.IMAGES

    def __init__(self, options: ImageOptions, suffices: Suffices | None = None, even_chroma: bool = False) -> None:
        self.options, self.suffices, self.even_chroma = options, suffices, even_chroma

    def scan(self, key: str, path: str, size: int) -> Iterator[Extent]:
        """Yield the file as one extent, unopened. Only `read` finds out whether the file is an image."""
        yield Extent(key, path, 0, None, size)

    def first(self, extent: Extent, count: int) -> tuple[Extent, int]:
        """Return the extent unchanged and 1, its number of samples."""
        return extent, 1

    def read(self, extents: Iterable[Extent], split: Split) -> Iterator[Sample | Skipped]:
        """Decode the images of the split, one at a time, at the least size that suffices; see `reduction.py`."""
        for extent in extents:
            if split.holds(extent.file):
                yield or_skipped(partial(self._sample, extent), extent.key)

    def _sample(self, extent: Extent) -> Sample:
        most = self.options.max_pixels
        data = _bytes(extent.where, max(4 * most, MAX_FILE_BYTES))
        factor = reduction(data, self.suffices) if self.suffices else 1
        image = decode(data, self.options.range, most, self.even_chroma, factor)
        return Sample(extent.key, image if factor == 1 else ReducedImage(image, factor))


def _bytes(where: str, limit: int) -> bytes:
    """Read a file of at most `limit` bytes. A fault of the disk propagates, since the image is not at fault."""
    with open_file(where) as file:
        if file_size(file) > limit:
            raise UnusableSample(f"file of more than {limit} bytes; raise --max-pixels to read it")
        data = file.read()
    if not data:
        raise UnusableSample("empty file")
    return data
