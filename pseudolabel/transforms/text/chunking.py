"""Words: where text can be cut between them without changing a token, and which tokens go on with one.

The truth about both is the tokenizer's own: `ids` and `word_ids` of the `Encoding` of a document.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLANKS = b" \t\n\r"  # the white space of every tokenizer; BERT's deletes \v and \f as control characters
PUNCTUATION = string.punctuation.encode()  # each is a word by itself, for BERT
WORD_CHARACTERS = (string.ascii_letters + string.digits).encode()
RARE_PUNCTUATION = "|~^`"  # of these signs
IDEOGRAPHS = range(0xE5, 0xEA)  # lead bytes of U+5000 to U+9FFF, each a word by itself, for BERT
# Neither sees further than a space: the one changes characters, the other cuts at white space (and elsewhere, or not).
NORMALIZERS = frozenset({"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"})
DROPPERS = frozenset({"BertPreTokenizer", "WhitespaceSplit", "Whitespace"})
KEEPERS = {"ByteLevel": "use_regex", "Metaspace": "split"}  # where this is set, a word begins with the space before it
# What is not white by its bytes: in UTF-8 the white characters beyond ASCII (U+0085, U+00A0, U+1680, U+180E, which was
# one, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000) end otherwise than with ENDS and begin otherwise than
# with LEADS. Normalised, no other character ends with white space, unless a DELETER takes away what it is made of.
PRINTABLE = range(0x21, 0x7F)
ENDS = sorted({*range(0x80, 0xC0)} - {*range(0x80, 0x8B), 0x8E, 0x9F, 0xA0, 0xA8, 0xA9, 0xAF})
LEADS = {2: range(0xC3, 0xE0), 3: (0xE0, *range(0xE4, 0xEE)), 4: range(0xF0, 0xF5)}  # by the bytes of the character
DELETERS = frozenset({"BertNormalizer", "StripAccents"})  # but nothing PRINTED
WHITE_SPACE_CLASS = 1  # of a byte: white space that belongs to no chunk
NEVER, AFTER, ALWAYS = 0, 1, 2  # of two bytes: whether text is cut between them, AFTER a known character or anyhow


class NotChunkable(Exception):
    """Why a tokenizer must be called document by document."""


class ChunkRules(NamedTuple):
    """Where a tokenizer's text can be cut into chunks without changing an id."""

    kinds: np.ndarray  # (256,) uint8, by byte: DROPPED, or the size of the known character that begins with it, or 0
    pairs: np.ndarray  # (256, 256) uint8, by the bytes on either side: NEVER, AFTER or ALWAYS
    separator: str = ""  # a token no chunk holds, to tokenise many at once; "" if there is none

    def chunks(self, data: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) uint8 text, (n,) bool in a document -> (n,) bool belongs to a chunk, (n,) bool begins one."""
        kind = self.kinds.take(data) * inside
        solid = inside & (kind != WHITE_SPACE_CLASS)
        cut = self.pairs.take(data[:-1].astype(np.uint16) << 8 | data[1:])
        begins = np.ones(len(data), bool)
        begins[1:] = (cut == ALWAYS) | ~solid[:-1]
        for size in LEADS:
            begins[size:] |= (kind[:-size] == size) & (cut[size - 1 :] == AFTER)
        return solid, solid & begins


def chunk_rules(about: dict[str, Any], literal: bool) -> ChunkRules:
    """Read from a tokenizer's description where its text can be cut; raise `NotChunkable` if nowhere for certain.

    `literal` says whether special tokens that stand in the text are taken for such.
    """
    normalizers, cutters, added = steps(about["normalizer"]), steps(about["pre_tokenizer"]), about["added_tokens"]
    names, cutter = [step["type"] for step in normalizers], cutters[0] if len(cutters) == 1 else {"type": "several"}
    keeps = bool(cutter.get(KEEPERS.get(cutter["type"], "")))
    if not keeps and cutter["type"] not in DROPPERS:
        given = ", ".join(step["type"] for step in cutters) or "none"
        raise NotChunkable(f"its pre-tokenizer ({given}) may look across white space")
    if not NORMALIZERS.issuperset(names):
        raise NotChunkable(f"its normalizer ({', '.join(names)}) may look across white space")
    for token in added:
        check_token(token, keeps)
    raw = [token["content"] for token in added if not token["normalized"]]
    alone = cutter["type"] == "BertPreTokenizer" and names in ([], ["BertNormalizer"]) and len(raw) == len(added)
    if keeps:
        made = keeping(cutter, names)
    elif alone:
        made = bert(bool(normalizers) and normalizers[0]["handle_chinese_chars"])
    else:
        made = dropping()
    for token in added:  # found before the text is cut into words, and without regard to case if it is normalised
        for text in {token["content"], token["content"].lower(), token["content"].upper()}:
            code = list(text.encode())
            made.pairs[code[:-1], code[1:]] = NEVER
    if literal and not keeps:
        return made._replace(separator=max(raw, key=len, default=""))
    signs = [
        sign
        for sign in RARE_PUNCTUATION
        if alone and sign in about["model"]["vocab"] and not any(sign in t for t in raw)
    ]
    return made._replace(separator="".join(signs[:1]))


def check_token(token: dict[str, Any], keeps: bool) -> None:
    """Raise `NotChunkable` if a token that is found in the text may lie across white space.

    Chunks that keep the white space before them keep all that a token may have or strip on its left, and if need be
    what is not there.
    """
    text = token["content"]
    loose = re.search(r"\S\s", text) if keeps else token["lstrip"] or text.split() != [text]
    if loose or token["rstrip"] or token["single_word"]:
        raise NotChunkable(f"its token {text!r} depends on what is around it")
    if token["normalized"] and not text.isascii():
        raise NotChunkable(f"its token {text!r} is sought in the normalised text")


def dropping() -> ChunkRules:
    """Words are what stands between white space, or less."""
    made = ChunkRules(np.zeros(256, np.uint8), np.zeros((256, 256), np.uint8))
    made.kinds[list(BLANKS)] = WHITE_SPACE_CLASS
    return made


def bert(chinese: bool) -> ChunkRules:
    """Each sign is a word by itself, and so are Chinese characters, if they are set apart."""
    made = dropping()
    if chinese:
        made.kinds[IDEOGRAPHS] = 3
        made.pairs[:] = AFTER
        made.pairs[:, IDEOGRAPHS] = ALWAYS
    made.pairs[list(PUNCTUATION)] = made.pairs[:, list(PUNCTUATION)] = ALWAYS
    return made


def keeping(cutter: dict[str, Any], normalizers: list[str]) -> ChunkRules:
    """Words have a space before them: text is cut before white space, where what precedes it is certainly none.

    Metaspace knows no white space but U+0020. GPT-2's expression (openai/gpt-2, src/encoder.py, `self.pat`) looks back
    at nothing, and at white space ahead only behind white space; it parts letters and digits from signs, but may join
    letters to an apostrophe before them. Where it sets a space before what has none, each chunk must have its own.
    """
    made = ChunkRules(np.zeros(256, np.uint8), np.zeros((256, 256), np.uint8))
    alone = cutter["type"] == "Metaspace" or cutter["add_prefix_space"]
    blanks = list(b" " if alone else BLANKS)
    made.pairs[:, blanks] = AFTER
    made.pairs[np.ix_(PRINTABLE, blanks)] = ALWAYS
    if DELETERS.isdisjoint(normalizers):
        made.pairs[np.ix_(ENDS, blanks)] = ALWAYS
        for size, leads in LEADS.items():
            made.kinds[list(leads)] = size
    if not alone:
        made.pairs[np.ix_(list(WORD_CHARACTERS), list(PUNCTUATION))] = ALWAYS
        made.pairs[np.ix_(list(PUNCTUATION.replace(b"'", b"")), list(WORD_CHARACTERS))] = ALWAYS
    return made


def steps(component: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, sequences unfolded."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    parts = component.get("normalizers") or component.get("pretokenizers", [])
    return [step for part in parts for step in steps(part)]


def mask_between(bounds: np.ndarray, length: int) -> np.ndarray:
    """(2 k,) ascending starts and ends in turn -> (length,) bool, true within."""
    lengths = np.diff(bounds, prepend=0, append=length)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


# --- what goes on with a word ----------------------------------------------------------------------------------------


class WordMarks(NamedTuple):
    """What the pieces of a vocabulary tell of themselves, wherever they stand."""

    heads: np.ndarray  # (v,) bool: begins a word
    tails: np.ndarray | None  # (v,) bool: goes on with a word, as none else does; None if that is for `word_ids` to say

    @classmethod
    def of(cls, tokenizer: Tokenizer, about: dict[str, Any]) -> WordMarks:
        """Read them from a tokenizer and its description."""
        prefix = tail(about)
        return cls(
            pieces_with_prefix(tokenizer, head(tokenizer)), pieces_with_prefix(tokenizer, prefix) if prefix else None
        )

    def going_on(self, ids: np.ndarray, words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Which tokens go on with the word of the token before.

        (t,) ids of k texts in a row, (t,) their `word_ids` unless there are `tails`, (k,) how many each text has ->
        (t,) bool.
        """
        if self.tails is not None:
            return self.tails.take(ids)
        same: np.ndarray = np.diff(words, prepend=-1) == 0
        same[(np.cumsum(lengths) - lengths)[lengths > 0]] = False
        same &= ~self.heads.take(ids)
        return same


def head(tokenizer: Tokenizer) -> str:
    """What the pieces begin with that begin a word, where the tokenizer does not part text at spaces; else "".

    A document is one word to it (Llama's, Gemma's). A word begins with what it writes for a space.
    """
    text, cutter = "a b", tokenizer.pre_tokenizer
    if tokenizer.normalizer:
        text = tokenizer.normalizer.normalize_str(text)
    words = [word for word, _ in cutter.pre_tokenize_str(text)] if cutter else [text]
    return words[0].partition("a")[2].partition("b")[0] if len(words) == 1 else ""


def tail(about: dict[str, Any]) -> str:
    """What the pieces begin with that go on with a word, where no word can begin so; else "".

    So it is for BERT's WordPiece: a "#" is a word by itself.
    """
    model, cutters = about["model"], [step["type"] for step in steps(about["pre_tokenizer"])]
    if model["type"] != "WordPiece" or cutters != ["BertPreTokenizer"]:
        return ""
    prefix: str = model["continuing_subword_prefix"]
    others = [model["unk_token"], *(token["content"] for token in about["added_tokens"])]
    apart = (
        len(prefix) > 1 and prefix[0].encode() in PUNCTUATION and not any(text.startswith(prefix) for text in others)
    )
    return prefix if apart else ""


def pieces_with_prefix(tokenizer: Tokenizer, prefix: str) -> np.ndarray:
    """(v,) bool: the pieces that begin with `prefix`, if it is anything."""
    vocabulary = tokenizer.get_vocab()
    table = np.zeros(max(vocabulary.values(), default=-1) + 1, bool)
    table[[i for piece, i in vocabulary.items() if prefix and piece.startswith(prefix)]] = True
    return table
