"""Vocabulary: load a tokenizer from a file or the hub, or learn it from the source, and find its special tokens."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.contracts import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

REQUIRED_ROLES = ("cls", "sep", "pad", "mask")
ROLES = {
    **{"cls": ("[CLS]", "<s>"), "sep": ("[SEP]", "</s>"), "pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>")},
    **{"unk": ("[UNK]", "<unk>")},
}


def tokenizer_description(name: str) -> str:
    """Return the content of a tokenizer.json. Raise `UserError` if it cannot be loaded or is unusable."""
    from tokenizers import Tokenizer

    path = Path(name)
    local = path.is_file()
    if not local and (path.suffix == ".json" or path.exists()):
        raise UserError(f"--tokenizer {name} is not a file; give the path of a tokenizer.json, or a name on the hub")
    try:
        tokenizer = Tokenizer.from_file(name) if local else Tokenizer.from_pretrained(name)
    except Exception as error:
        remedy = "give the path of a tokenizer.json, or the name of a model on the hub that has one"
        raise UserError(f"--tokenizer {name} cannot be loaded ({str(error).splitlines()[0]}); {remedy}") from None
    if getattr(tokenizer.model, "dropout", None):
        raise UserError(f"--tokenizer {name} splits words at random; set its model's dropout to null")
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown and tokenizer.token_to_id(unknown) is None:
        raise UserError(f"--tokenizer {name} has no {unknown} in its vocabulary, but its model needs it; add the token")
    return path.read_bytes().decode() if local else str(tokenizer.to_str())


class SpecialTokens(NamedTuple):
    """Special tokens, which are not text. An id is -1 if the tokenizer lacks a token that the task does not need."""

    cls: int
    sep: int
    pad: int
    mask: int
    unk: int
    table: np.ndarray  # (v,) bool, by id: special, so never masked
    pool: np.ndarray  # (p,) int32: all other ids, from which random tokens are drawn
    added: Mapping[str, int]  # ids of the tokenizer's added tokens, by name

    @classmethod
    def of(cls, tokenizer: Tokenizer, needed: tuple[str, ...] = REQUIRED_ROLES) -> SpecialTokens:
        """Find the special tokens by their usual names. Raise `UserError` if one of `needed` is missing."""
        vocabulary = tokenizer.get_vocab()
        roles, model = {}, json.loads(tokenizer.to_str())["model"]
        for role, names in ROLES.items():
            roles[role] = next((vocabulary[name] for name in names if name in vocabulary), -1)
            if role in needed and roles[role] < 0:
                remedy = "give a tokenizer that has one, such as BERT's or T5's, or leave --tokenizer out to learn one"
                raise UserError(f"the tokenizer has no {' or '.join(names)} token; {remedy}")
        if roles["unk"] < 0:
            named = vocabulary.get(model.get("unk_token") or "", -1)
            roles["unk"] = named if model.get("unk_id") is None else model["unk_id"]
        ids = np.fromiter(vocabulary.values(), np.int32)
        table = np.zeros(ids.max() + 1, bool)
        added = tokenizer.get_added_tokens_decoder()
        table[[i for i in roles.values() if i >= 0]] = True
        table[[i for i, token in added.items() if token.special]] = True
        names_of = {token.content: i for i, token in added.items()}
        return cls(**roles, table=table, pool=np.sort(ids[~table[ids]]), added=names_of)

    def is_text(self, ids: np.ndarray) -> np.ndarray:
        """Return whether each id is a token that may be masked. False for -100 and other numbers that are no ids."""
        known = (ids >= 0) & (ids < len(self.table))
        return np.asarray(known & ~self.table[np.where(known, ids, 0)])

    def plain(self, ids: np.ndarray) -> np.ndarray:
        """Return `ids` with [UNK] in place of special tokens, which a Unigram model may make of plain text."""
        return ids if self.unk < 0 else np.where(self.table[ids], np.int32(self.unk), ids)


load_special = lru_cache(maxsize=1)(SpecialTokens.of)  # every shard uses the same tokenizer
# --- a tokenizer learned from the source -----------------------------------------------------------------------------

SPECIAL_NAMES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4
MAX_DISTINCT_WORDS = 200_000  # words for the trainer, which needs a kilobyte or more for each


def train_wordpiece(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn a cased WordPiece tokenizer of at most `size` pieces from the most frequent words.

    The trainer numbers letters in the order of a hash table, which differs between processes, and its merges depend on
    the numbers (tokenizers #1794). Therefore all letters are declared in order, and the trainer may add none.
    """
    from tokenizers.trainers import WordPieceTrainer

    tokenizer, counts = wordpiece({}), Counter[str]()
    for text in texts:
        counts.update(text.split())
    words = sorted(counts.items(), key=lambda word: (-word[1], word[0]))[:MAX_DISTINCT_WORDS]
    declared = [*SPECIAL_NAMES, *letters(tokenizer, words, size // 4)]
    trainer = WordPieceTrainer(vocab_size=size, min_frequency=2, show_progress=False, special_tokens=declared)
    trainer.limit_alphabet = 0
    tokenizer.train_from_iterator((f"{word} " * count for word, count in words), trainer)
    return wordpiece(tokenizer.get_vocab())


def letters(tokenizer: Tokenizer, words: Sequence[tuple[str, int]], most: int) -> list[str]:
    """Return the commonest characters, up to `most`, sorted; then those that can continue words, as "##c", sorted."""
    counts: Counter[str] = Counter()
    for word, count in words:
        for letter in word:
            counts[letter] += count
    first, inner = [], []
    for letter in sorted(counts, key=lambda c: (-counts[c], c))[:most]:
        normal = tokenizer.normalizer.normalize_str("a" + letter)
        cut = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]
        first += [letter] if cut != ["a"] else []  # else it is white space or deleted
        inner += ["##" + letter] if cut == ["a" + letter] else []  # else it is a word
    return sorted(first) + sorted(inner)


def wordpiece(vocabulary: dict[str, int]) -> Tokenizer:
    """Return BERT's cased tokenizer with this vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    if vocabulary:
        tokenizer.add_special_tokens(list(SPECIAL_NAMES))
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer
