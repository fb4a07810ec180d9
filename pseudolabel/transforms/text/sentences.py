"""Sentences: split documents of any script by a few rules, without a model."""

from __future__ import annotations

import re
from functools import cache
from itertools import groupby
from unicodedata import category

import numpy as np

from pseudolabel.readers.text.blocks import Block

SPACED_STOPS = ".!?…‼⁇⁈⁉‽\u037e։؟۔।॥።፧။៕។།"  # these need white space after them; U+037E is the Greek question mark
FREE_STOPS = "。｡！？๚๛"  # these need none
TITLE_ABBREVIATIONS = (
    "Mr Mrs Ms Messrs Mme Mmes Mlle Mlles MM Mgr Sr Sra Hr Dr Prof Rev Hon St Ste Capt Col Gen Lt vs cf Cf al"
)
NUMBER_ABBREVIATIONS = "No Nos no Nr p pp Vol vol Fig fig Ch ch Art art Jan Feb Mar Apr Jun Jul Aug Sept Oct Nov Dec"
INITIALS = "A-HJ-ZÀ-ÖØ-ÞΑ-ΩА-Я"  # "I" is a word
BLANK_LINE = b"\n\n"  # a blank line; no rule looks across it
SLICE_CHARACTERS = 1 << 16  # characters whose codes fit into the processor's cache


def split_sentences(block: Block, per_line: bool = False) -> Block:
    """Split the documents of a block into sentences: the same data, with (s,) starts, ends and positions of sentences.

    White space (`str.isspace`) around a sentence belongs to no sentence; every other character belongs to exactly one.
    A sentence has its document's position. Sentences may touch. With `per_line` each line is one. Else a sentence ends

    - at a blank line; a single line end counts as a space, because text is wrapped;
    - after . ! ? … and the stops of other scripts, and after the closing quotes, brackets, * and _ that follow the stop
      (« Non ! » has a space between), if white space follows. Not if the next character after the white space is a
      stop, a lower-case letter, or a dash or opening bracket before a lower-case letter;
    - but not after an abbreviation (`TITLE_ABBREVIATIONS`; `NUMBER_ABBREVIATIONS` before a number), an initial or a
      letter between stops (J. R. R. Tolkien, U.S., e.g.), or the number of an item that begins a line (1. 2.);
    - after 。！？ and closing quotes and brackets, whatever follows; after ．, but not in ３．１４;
    - at white space between two Thai letters, because Thai has no stop; ๆ and ฯ do not count, as spaces surround them.

    The rules are this project's: google-research/bert's create_pretraining_data.py expects one sentence per line.
    """
    raw = BLANK_LINE.join([b"", *block.texts(), b""])
    text = raw.decode()
    kinds = kinds_of(text)
    if per_line:
        cuts = np.flatnonzero((kinds == ord("\n")) | (kinds == ord("\r")))
    else:
        kinds[[match.start() for match in NO_STOP.finditer(text)]] = ord("x")
        cuts = np.fromiter((match.end() for match in SENTENCE_END.finditer(kinds.data)), np.int64)
    white = np.flatnonzero(kinds <= ord(" "))
    inner = np.flatnonzero(np.frombuffer(raw, np.uint8) & 0xC0 == 0x80)  # bytes of a character but the first
    before = np.append(0, cuts - np.searchsorted(white, cuts))  # characters before each cut that are not white
    some = before[1:] > before[:-1]
    starts = put_back(put_back(before[:-1][some], white), inner)
    ends = put_back(put_back(before[1:][some] - 1, white) + 1, inner)
    lengths = block.ends - block.starts
    places = np.cumsum(lengths + len(BLANK_LINE)) - lengths  # of the documents in `raw`
    document = np.searchsorted(places, starts, "right") - 1
    shift = (block.starts - places)[document]
    return Block(block.data, starts + shift, ends + shift, block.positions[document])


def put_back(places: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Convert places in a shortened text to places in the whole text. `removed`: (r,) ascending, in the whole text."""
    return places + np.searchsorted(removed - np.arange(len(removed)), places, "right")


# --- kinds of characters ---------------------------------------------------------------------------------------------


def kind(character: str) -> str:
    """Return the kind of a character, as a one-character code that `SENTENCE_END` uses."""
    sort = category(character)
    if character.isspace():
        return character if character in "\r\n" else " "
    if character in SPACED_STOPS:
        return "."
    if character in FREE_STOPS:
        return "o"
    if character == "．":
        return "p"
    if sort in ("Pe", "Pf"):
        return ")"  # closes
    if sort == "Pi" or character in "\"'*_":
        return '"'  # opens or closes
    if sort in ("Ps", "Pd"):
        return "-"  # opens, or is a dash
    if sort.startswith("P"):
        return ","
    if character.isdigit():
        return "1"
    if character.islower():
        return "a"
    return "t" if "ก" <= character <= "๎" and character not in "ฯ฿ๆ" else "x"


@cache
def table() -> np.ndarray:
    """Return (65536,) uint8, the kind of each character of the basic plane. The last one is for characters beyond."""
    return np.frombuffer("".join(map(kind, map(chr, range(1 << 16)))).encode(), np.uint8)


def kinds_of(text: str) -> np.ndarray:
    """Return (n,) uint8: the kind of each character."""
    slices = (text[i : i + SLICE_CHARACTERS].encode("utf-32-le") for i in range(0, len(text), SLICE_CHARACTERS))
    return np.concatenate([table().take(np.frombuffer(codes, "<u4"), mode="clip") for codes in slices])


# Every alternative begins with one fixed kind, so that `re` searches for these kinds only. A » after a space closes if
# white space or punctuation follows it; else it opens.
SENTENCE_END = re.compile(
    rb"""
    \. [)"]*+ (?: [ ] \) [)"]*+ (?= [\s,.] ) )?+ (?= \s++ [^a.] ) (?! [ ]++ -++ [ ]*+ a )
  | o [op)]*+ (?: "++ (?= \s ) )?
  | p (?<! 1p ) [op)]*+
  | t (?= \s++ t )
  | \n [ ]*+ [\r\n]
  | \r \n?+ [ ]*+ [\r\n]
    """,
    re.VERBOSE,
)


def before_stop(words: str) -> str:
    """Return a pattern that looks back at one of the words and a stop. `re` needs one look-behind per word length."""
    lengths = groupby(sorted(words.split(), key=len), len)
    return "|".join(rf"(?<=\b(?:{'|'.join(group)})\.)" for _, group in lengths)


NO_STOP = re.compile(
    rf"""
    \. (?: {before_stop(TITLE_ABBREVIATIONS)}
    | (?= \s\d ) (?: {before_stop(NUMBER_ABBREVIATIONS)} )
    | (?<= \b[{INITIALS}]\. ) | (?<= \.\w\. )
    | (?<= [\r\n]\d\. ) | (?<= [\r\n]\d\d\. ) | (?<= \s\s\d\. ) | (?<= \s\s\d\d\. ) )
    """,
    re.VERBOSE,
)
