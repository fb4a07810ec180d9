"""HTML page: render pieces into one file that holds all its media, styles and scripts and uses no network."""

from __future__ import annotations

import base64
import colorsys
import hashlib
from collections.abc import Iterable, Sequence
from functools import singledispatch
from html import escape
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pseudolabel.contracts import Fact, MarkedText, Picture, Piece, Tiles, Wave, escape_controls
from pseudolabel.transforms.audio.codec import encode_flac
from pseudolabel.transforms.image import codec

MAX_SIDE = 320  # pixels of an image's longer side, at most
WAVE_BINS = 600  # bins of a drawn waveform, at most
MAX_TEXT_CHARACTERS = 4000  # characters of a text that are shown, at most
STYLE = (Path(__file__).parent / "page.css").read_text("utf-8")
SCRIPT = (Path(__file__).parent / "page.js").read_text("utf-8")
CONTENT_POLICY = (  # only what the page itself holds may be loaded
    "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    f"form-action 'none'; script-src 'sha256-{base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()}'"
)
SPAN_MEANINGS = {
    "blank": "hidden: to be predicted",
    "changed": "replaced: the original is to be predicted",
    "kept": "unchanged: to be predicted",
}


class Card(NamedTuple):
    """A row on the page: its name, its rendered pieces and its other columns."""

    name: str
    pieces: str  # HTML
    about: Sequence[tuple[str, str]]


class Section(NamedTuple):
    """A group of cards with a heading and a note; both may be empty."""

    heading: str
    note: str
    cards: Sequence[Card]


def render_page(
    title: str, kicker: str, head: Iterable[str], sections: Sequence[Section], tail: Iterable[str] = ()
) -> str:
    """Return the whole page. `head` and `tail` are HTML above and below the rows; other texts are escaped here."""
    parts = [
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape_text(escape_controls(title))}</title>",
        f'<meta http-equiv="Content-Security-Policy" content="{escape(CONTENT_POLICY)}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<style>{STYLE}</style></head><body><header><p class=kicker>{escape_text(kicker)}</p>",
        f"<h1>{isolate(title)}</h1>",
        *head,
        "</header><main>",
        legend(sections),
    ]
    for section in sections:
        parts.append(
            f"<section><h2>{isolate(section.heading or 'Rows')} <small>{escape_text(section.note)}</small></h2>"
        )
        parts += ['<div class="cards">', *map(render_card, section.cards), "</div></section>"]
    parts += tail
    parts.append("</main><footer>Made by pseudolabel. Keys: <kbd>j</kbd> next row, <kbd>k</kbd> previous row.")
    return "".join([*parts, f"</footer><script>{SCRIPT}</script></body></html>\n"])


def legend(sections: Sequence[Section]) -> str:
    """Return a legend of the span marks that occur in the cards."""
    shown = "".join(card.pieces for section in sections for card in section.cards)
    there = [kind for kind in SPAN_MEANINGS if f'<mark class="{kind}">' in shown]
    marks = "".join(f'<mark class="{kind}">{SPAN_MEANINGS[kind]}</mark>' for kind in there)
    return f'<p class="legend">{marks}</p>' if marks else ""


def render_card(shown: Card) -> str:
    """Return a card as HTML."""
    about = "".join(f"<dt>{escape_text(name)}</dt><dd>{isolate(value)}</dd>" for name, value in shown.about)
    more = f"<details><summary>more</summary><dl>{about}</dl></details>" if about else ""
    return f'<article tabindex="0"><h3>{isolate(shown.name)}</h3>{shown.pieces}{more}</article>'


# --- pieces ----------------------------------------------------------------------------------------------------------


def escape_text(value: str) -> str:
    """Escape text for HTML. Surrogates, which UTF-8 cannot encode, become backslash escapes as in Python."""
    return escape(value.encode("utf-8", "backslashreplace").decode())


def isolate(value: str) -> str:
    """Escape a name or value of the source. Its control characters and its text direction cannot affect the page."""
    return f"<bdi>{escape_text(escape_controls(value))}</bdi>"


def figure(kind: str, caption: str, content: str) -> str:
    """Return a `<figure>` with its caption, if there is one."""
    below = f"<figcaption>{escape_text(caption)}</figcaption>" if caption else ""
    return f'<figure class="{kind}">{content}{below}</figure>'


def render_pieces(pieces: Iterable[Piece]) -> str:
    """Return pieces as HTML, side by side."""
    return f'<div class="pieces">{"".join(map(render_piece, pieces))}</div>'


@singledispatch
def render_piece(piece: Piece) -> str:
    raise TypeError(f"not a piece: {piece!r}")


@render_piece.register
def _(piece: Fact) -> str:
    return f'<p class="fact"><span>{escape_text(piece.name)}</span> {isolate(piece.value)}</p>'


@render_piece.register
def _(piece: Picture) -> str:
    return figure("picture", piece.caption, picture(piece.image, piece.caption or "image"))


@render_piece.register
def _(piece: Tiles) -> str:
    notes = [f"<small>{escape_text(note)}</small>" for note in piece.notes] or [""] * len(piece.images)
    said = piece.notes or [f"{piece.caption or 'image'} {i}" for i in range(1, len(piece.images) + 1)]
    pictures = ("" if image is None else picture(image, alt) for image, alt in zip(piece.images, said, strict=True))
    cells = (f"<span>{shown}{note}</span>" for shown, note in zip(pictures, notes, strict=True))
    return figure("tiles", piece.caption, f'<div style="--columns:{piece.columns}">{"".join(cells)}</div>')


@render_piece.register
def _(piece: MarkedText) -> str:
    spans, room = list[str](), MAX_TEXT_CHARACTERS
    for span in piece.spans:
        room -= len(span.text) + len(span.note)
        if room < 0:
            spans.append(" …")
            break
        note = f"<small>{escape_text(span.note)}</small>" if span.note else ""
        word = escape_text(span.text.lstrip())
        space = " " * (len(span.text) - len(span.text.lstrip()))
        spans.append(f'{space}<mark class="{span.mark}">{word}{note}</mark>' if span.mark else escape_text(span.text))
    return figure("written", piece.caption, f'<p dir="auto"><bdi>{"".join(spans)}</bdi></p>')


@render_piece.register
def _(piece: Wave) -> str:
    name = escape_text(piece.caption or "audio")
    drawn = waveform(piece.wave, piece.mask, name)
    codes = f'<img class="codes" alt="codes as colours" src="{_colours(piece.codes)}">' if len(piece.codes) else ""
    sound = _data("audio/flac", encode_flac(piece.wave, piece.rate))
    audio = f'<audio controls preload="none" aria-label="{name}" src="{sound}"></audio>'
    return figure("wave", piece.caption, drawn + codes + audio)


def picture(image: np.ndarray, alt: str) -> str:
    """(H, W, 3) or (H, W) uint8 -> an `<img>` of at most MAX_SIDE pixels; `alt` is its alternative text."""
    import cv2

    image = image if image.ndim == 3 else image[..., None].repeat(3, 2)
    scale = MAX_SIDE / max(image.shape[:2])
    if scale < 1:
        size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    height, width, _ = image.shape
    source = _data("image/jpeg", codec.encode_jpeg(image, 85))
    return f'<img alt="{escape_text(alt)}" width="{width}" height="{height}" src="{source}">'


def waveform(wave: np.ndarray, mask: np.ndarray, name: str) -> str:
    """(n,) int16 and (f,) bool -> an SVG: minimum and maximum of each bin, and bands over the masked frames."""
    bins = np.array_split(
        wave.astype(np.float64) / max(1, np.abs(wave).max(initial=1)), min(WAVE_BINS, max(1, len(wave)))
    )
    top = [f"{i} {50 - 46 * part.max(initial=0):.0f}" for i, part in enumerate(bins)]
    bottom = [f"{i} {50 - 46 * part.min(initial=0):.0f}" for i, part in enumerate(bins)]
    line = "M" + "L".join([*top, *reversed(bottom)]) + "Z"
    edges = np.flatnonzero(np.diff(mask.astype(np.int8), prepend=0, append=0)) * (len(bins) / max(1, len(mask)))
    bands = "".join(
        f'<rect x="{low:.1f}" width="{high - low:.1f}" height="100"/>' for low, high in edges.reshape(-1, 2).tolist()
    )
    label = f'role="img" aria-label="waveform of {name}"'
    return f'<svg viewBox="0 0 {len(bins)} 100" preserveAspectRatio="none" {label}>{bands}<path d="{line}"/></svg>'


def _colours(codes: np.ndarray) -> str:
    """(f,) codes -> a PNG strip, one pixel per code, one colour per value. Close values have unlike colours."""
    import cv2

    distinct, which = np.unique(codes, return_inverse=True)
    hues = distinct * 0.618034 % 1
    table = np.array([colorsys.hls_to_rgb(hue, 0.58, 0.55) for hue in hues.tolist()]) * 255
    done, encoded = cv2.imencode(".png", table[which][None, :, ::-1].astype(np.uint8))
    assert done
    return _data("image/png", bytes(encoded))


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
