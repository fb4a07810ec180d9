"""Chunking: places where text can be cut without changing a token id, and tokens that continue a word.

The reference for both is the tokenizer's own `Encoding` of a document, its `ids` and `word_ids`.
"""

from __future__ import annotations

import re
import string
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLANKS = b" \t\n\r"  # white space for every tokenizer; BERT's deletes \v and \f as control characters
PUNCTUATION = string.punctuation.encode()  # for BERT, each is a word
WORD_CHARACTERS = (string.ascii_letters + string.digits).encode()
RARE_PUNCTUATION = "|~^`"  # candidates for the separator
IDEOGRAPHS = range(0xE5, 0xEA)  # lead bytes of U+5000 to U+9FFF; for BERT, each character is a word
# None of these looks across a space: normalizers change characters, pre-tokenizers cut at white space or more often.
NORMALIZERS = frozenset({"BertNormalizer", "Lowercase", "NFC", "NFD", "NFKC", "NFKD", "StripAccents"})
DROPPERS = frozenset({"BertPreTokenizer", "WhitespaceSplit", "Whitespace"})
KEEPERS = {"ByteLevel": "use_regex", "Metaspace": "split"}  # with this option, a word begins with the space before it
# Bytes that are certainly not white space. In UTF-8, white space beyond ASCII (U+0085, U+00A0, U+1680, U+180E in older
# Unicode, U+2000 to U+200A, U+2028, U+2029, U+202F, U+205F, U+3000) has no last byte in ENDS and no first byte in
# LEADS. No other character is normalised to text that ends with white space, unless DELETERS delete the rest of it.
PRINTABLE = range(0x21, 0x7F)
ENDS = sorted({*range(0x80, 0xC0)} - {*range(0x80, 0x8B), 0x8E, 0x9F, 0xA0, 0xA8, 0xA9, 0xAF})
LEADS = {2: range(0xC3, 0xE0), 3: (0xE0, *range(0xE4, 0xEE)), 4: range(0xF0, 0xF5)}  # by the character's length
DELETERS = frozenset({"BertNormalizer", "StripAccents"})  # these never delete a PRINTABLE character
WHITE_SPACE_CLASS = 1  # the class of a byte of white space that belongs to no chunk
NEVER, AFTER, ALWAYS = 0, 1, 2  # no cut; cut if `kinds` has the length of the character before the place; cut


class NotChunkable(Exception):
    """The reason why a tokenizer must get whole documents."""


class ChunkRules(NamedTuple):
    """Rules for cutting the text of a tokenizer into chunks without changing a token id."""

    kinds: np.ndarray  # (256,) uint8, by first byte: WHITE_SPACE_CLASS, the character's length if AFTER cuts, or 0
    pairs: np.ndarray  # (256, 256) uint8, by the bytes before and after: NEVER, AFTER or ALWAYS
    separator: str = ""  # a token that no chunk contains, to join chunks for one call; "" if there is none

    def chunks(self, data: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) uint8, (n,) bool, true in documents -> (n,) bool, true in chunks, (n,) bool, true at their starts."""
        kind = np.frombuffer(data.tobytes().translate(self.kinds.tobytes()), np.uint8) * inside
        solid = inside & (kind != WHITE_SPACE_CLASS)
        cut = self.pairs.take(data[:-1].astype(np.uint16) << 8 | data[1:], mode="clip")
        begins = np.ones(len(data), bool)
        begins[1:] = (cut == ALWAYS) | ~solid[:-1]
        for size in LEADS.keys() & self.kinds.tolist():
            begins[size:] |= (kind[:-size] == size) & (cut[size - 1 :] == AFTER)
        return solid, solid & begins


def chunk_rules(about: dict[str, Any], literal: bool) -> ChunkRules:
    """Return the rules for a tokenizer's description. Raise `NotChunkable` if no cut is certainly safe.

    `literal`: the name of a special token in the text counts as that token.
    """
    normalizers, cutters, added = steps(about["normalizer"]), steps(about["pre_tokenizer"]), about["added_tokens"]
    names, cutter = [step["type"] for step in normalizers], cutters[0] if len(cutters) == 1 else {"type": "several"}
    keeps = bool(cutter.get(KEEPERS.get(cutter["type"], "")))
    if not keeps and cutter["type"] not in DROPPERS:
        given = ", ".join(step["type"] for step in cutters) or "none"
        raise NotChunkable(f"its pre-tokenizer ({given}) may read across white space")
    if not NORMALIZERS.issuperset(names):
        raise NotChunkable(f"its normalizer ({', '.join(names)}) may read across white space")
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
    for token in added:  # added tokens are found before words are cut; a normalised one ignores case
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
    """Raise `NotChunkable` if an added token may match across white space.

    With `keeps`, a chunk includes leading white space, so a token may begin with white space or strip it on the left.
    """
    text = token["content"]
    loose = re.search(r"\S\s", text) if keeps else token["lstrip"] or text.split() != [text]
    if loose or token["rstrip"] or token["single_word"]:
        raise NotChunkable(f"its token {text!r} depends on the text around it")
    if token["normalized"] and not text.isascii():
        raise NotChunkable(f"its token {text!r} is matched in normalised text and is not ASCII")


def dropping() -> ChunkRules:
    """Return rules for words that never include white space: cut at white space."""
    made = ChunkRules(np.zeros(256, np.uint8), np.zeros((256, 256), np.uint8))
    made.kinds[list(BLANKS)] = WHITE_SPACE_CLASS
    return made


def bert(chinese: bool) -> ChunkRules:
    """Return rules for BERT: each punctuation character is a word, and with `chinese` each Chinese character, too."""
    made = dropping()
    if chinese:
        made.kinds[IDEOGRAPHS] = 3
        made.pairs[:] = AFTER
        made.pairs[:, IDEOGRAPHS] = ALWAYS
    made.pairs[list(PUNCTUATION)] = made.pairs[:, list(PUNCTUATION)] = ALWAYS
    return made


def keeping(cutter: dict[str, Any], normalizers: list[str]) -> ChunkRules:
    """Return rules for words that begin with a space: cut before white space unless white space may precede it.

    For Metaspace only U+0020 is white space. GPT-2's expression (openai/gpt-2, src/encoder.py, `self.pat`) never looks
    back, and looks ahead to white space only from white space. It splits letters and digits from punctuation, but may
    join an apostrophe with letters after it. If the tokenizer adds a missing space, each chunk must begin with a space.
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
    """Return the steps of a normalizer or pre-tokenizer, with sequences flattened."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    parts = component.get("normalizers") or component.get("pretokenizers", [])
    return [step for part in parts for step in steps(part)]


def mask_between(bounds: np.ndarray, length: int) -> np.ndarray:
    """Return (length,) bool, true from a start to its end. `bounds`: (2 k,) ascending, starts and ends in turn."""
    lengths = np.diff(bounds, prepend=0, append=length)
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


# --- tokens that continue a word -------------------------------------------------------------------------------------


class WordMarks(NamedTuple):
    """The pieces of a vocabulary that begin or continue a word in every context."""

    heads: np.ndarray  # (v,) bool: the piece begins a word
    tails: np.ndarray | None  # (v,) bool: only these pieces continue a word; None if `word_ids` are needed

    @classmethod
    def of(cls, tokenizer: Tokenizer, about: dict[str, Any]) -> WordMarks:
        """Return the pieces of a tokenizer with this description."""
        prefix = tail(about)
        return cls(
            pieces_with_prefix(tokenizer, head(tokenizer)), pieces_with_prefix(tokenizer, prefix) if prefix else None
        )

    def going_on(self, ids: np.ndarray, words: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """Return (t,) bool: the token continues the word of the token before.

        `ids`: (t,) of k concatenated texts; `words`: (t,) `word_ids`, not used with `tails`; `lengths`: (k,) tokens.
        """
        if self.tails is not None:
            return self.tails.take(ids)
        same: np.ndarray = np.diff(words, prepend=-1) == 0
        same[(np.cumsum(lengths) - lengths)[lengths > 0]] = False
        same &= ~self.heads.take(ids)
        return same


def head(tokenizer: Tokenizer) -> str:
    """Return the prefix of pieces that begin a word if the tokenizer does not split text at spaces, else "".

    For such a tokenizer (Llama's, Gemma's) a document is one word. The prefix is its symbol for a space.
    """
    text, cutter = "a b", tokenizer.pre_tokenizer
    if tokenizer.normalizer:
        text = tokenizer.normalizer.normalize_str(text)
    words = [word for word, _ in cutter.pre_tokenize_str(text)] if cutter else [text]
    return words[0].partition("a")[2].partition("b")[0] if len(words) == 1 else ""


def tail(about: dict[str, Any]) -> str:
    """Return the prefix of pieces that continue a word if no word can begin with it, else "".

    BERT's WordPiece has such a prefix, because "#" is always a word.
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
    """Return (v,) bool: the piece begins with `prefix`. False for all if `prefix` is empty."""
    vocabulary = tokenizer.get_vocab()
    table = np.zeros(max(vocabulary.values(), default=-1) + 1, bool)
    table[[i for piece, i in vocabulary.items() if prefix and piece.startswith(prefix)]] = True
    return table
