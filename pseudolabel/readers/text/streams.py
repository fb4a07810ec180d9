"""Streams of text files: decompress them by their suffix, and handle their encoding."""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache

from pseudolabel.contracts import UnusableSample
from pseudolabel.readers.sources import opening
from pseudolabel.readers.sources.compression import (
    CHUNK_BYTES,
    SIGNATURES,
    Stream,
    decompress,
    decompression_errors,
)
from pseudolabel.readers.sources.formats import HEAD_BYTES
from pseudolabel.storage.placeholders import refuse_placeholder

MAX_LINE_BYTES = 32 << 20  # bytes of a jsonl or csv line: a record is parsed in memory
ENCODING_HINT = "convert the file, or give another --encoding"
CUT_CHARACTER = "the file ends within a character; get the whole file, or give another --encoding"
WHITE_SPACE = b" \t\n\r\v\f"
BYTE_ORDER_MARKS = {  # UTF-32 first: its little-endian mark starts with the mark of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
NOT_TEXT = {  # first bytes of files that are not text in any encoding
    **{signature: f"compressed; give it the suffix {suffix}" for suffix, signature in SIGNATURES.items()},
    rb"PK\x03\x04": "a zip archive, or an Office document; give it the suffix .zip, or convert it to text",
    rb"%PDF-\d": "a PDF; convert it to text",
}


@contextmanager
def open_decompressed(where: str) -> Iterator[Stream]:
    """Open a file for its decompressed bytes. Raise `UnusableSample` for damage, `OSError` for a fault of the disk."""
    with opening.open_file(where) as file, decompression_errors(), decompress(file, where) as stream:
        yield stream


def chunks(path: str, start: int = 0) -> Iterator[bytes]:
    """Yield the decompressed bytes from `start` on. Raise `UnusableSample` at the first damaged byte."""
    with open_decompressed(path) as stream:
        if stream.seekable():
            stream.seek(start)
        else:
            stream.read(start)
        while chunk := stream.read1(CHUNK_BYTES):
            yield chunk


def recode(source: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield a stream of bytes in `encoding` as UTF-8, without a byte order mark."""
    decoder = codecs.getincrementaldecoder(encoding)()
    fed = 0
    try:
        for chunk in source:
            top, fed = fed == 0, fed + len(chunk)
            text = decoder.decode(chunk)
            yield (text.removeprefix("\ufeff") if top else text).encode(errors="surrogatepass")
    except UnicodeDecodeError as bad:  # bad.object: the undecoded rest of earlier chunks, and this chunk
        raise UnusableSample(
            f"not {encoding} from byte {fed - len(bad.object) + bad.start} on; {ENCODING_HINT}"
        ) from None
    try:
        rest = decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise UnusableSample(CUT_CHARACTER) from None
    yield rest.encode(errors="surrogatepass")


def lacks_end(text: bytes, encoding: str) -> bool:
    """Return whether text that does not decode is valid up to its last bytes, which begin a character."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(text)
    except UnicodeError:
        return False
    return True


def lines(path: str, encoding: str) -> Iterator[str]:
    """Yield the lines of a file with their line ends. Bytes that do not decode become lone surrogates."""
    known = "utf-8-sig" if codecs.lookup(encoding).name == "utf-8" else encoding
    with (
        open_decompressed(path) as stream,
        io.TextIOWrapper(stream, known, errors="surrogateescape", newline="") as text,
    ):
        try:
            while line := text.readline(MAX_LINE_BYTES):
                if len(line) > MAX_LINE_BYTES // 4 and len(line.encode(errors="surrogatepass")) >= MAX_LINE_BYTES:
                    raise UnusableSample(f"a line of more than {MAX_LINE_BYTES >> 20} MB from here on")
                yield line
        except UnicodeDecodeError:
            raise UnusableSample(f"not {encoding} from here on; {ENCODING_HINT}") from None


def byte_order_mark(path: str) -> tuple[int, str | None]:
    """Return the size of the UTF-8 byte order mark (3 or 0), and the encoding of a UTF-16 or UTF-32 mark or None."""
    with open_decompressed(path) as stream:
        head = stream.read(HEAD_BYTES)
    refuse_placeholder(head)  # also in compressed files
    if reason := next((reason for signature, reason in NOT_TEXT.items() if re.match(signature, head)), ""):
        raise UnusableSample(f"not text but {reason}")
    named = next((name for mark, name in BYTE_ORDER_MARKS.items() if head.startswith(mark)), None)
    return 3 * head.startswith(codecs.BOM_UTF8), named


@cache
def cuts_at_white(encoding: str) -> bool:
    """Return whether bytes of ASCII white space are always white space. A file can then be cut there before decoding.

    Every ASCII byte must decode to itself; in UTF-16 and in encodings with shift states it does not. White space must
    decode to itself after every byte above 127; in all of latin, cp125x, EUC, GBK, Big5 and Shift JIS it does.
    """
    alone = all(bytes([byte]).decode(encoding, "replace") == chr(byte) for byte in range(128))
    return alone and all(
        bytes([lead, white, white, white]).decode(encoding, "replace").endswith(3 * chr(white))
        for lead in range(128, 256)
        for white in WHITE_SPACE
    )
