"""Vocabularies: a tokenizer from a file or the hub, which of its tokens are no text, or one learned from the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pseudolabel.sample import Refused

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROLES = {"cls": ("[CLS]", "<s>"), "sep": ("[SEP]", "</s>"), "pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>")}
UNKNOWN = ("[UNK]", "<unk>")


def description(name: str) -> str:
    """The content of a tokenizer.json, from a file or the hub."""
    from tokenizers import Tokenizer

    path = Path(name)
    local = path.is_file()
    if not local and (path.suffix == ".json" or path.exists()):
        raise Refused(f"--tokenizer {name} is no file; type the path of a tokenizer.json, or a name on the hub")
    try:
        tokenizer = Tokenizer.from_file(name) if local else Tokenizer.from_pretrained(name)
    except Exception as error:
        remedy = "type the path of a tokenizer.json, or the name of a model on the hub that has one"
        raise Refused(f"--tokenizer {name} cannot be loaded ({str(error).splitlines()[0]}); {remedy}") from None
    if getattr(tokenizer.model, "dropout", None):
        raise Refused(f"--tokenizer {name} splits words at random; set its model's dropout to null")
    return path.read_bytes().decode() if local else str(tokenizer.to_str())


class Special(NamedTuple):
    """The tokens that are no text."""

    cls: int
    sep: int
    pad: int
    mask: int
    table: np.ndarray  # (v,) bool: ids that are never hidden, by id
    pool: np.ndarray  # (p,) int32: all others, which random tokens are drawn from

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Special:
        """Find them by their usual names."""
        vocabulary = tokenizer.get_vocab()
        roles = {}
        for role, names in ROLES.items():
            known = [vocabulary[name] for name in names if name in vocabulary]
            if not known:
                remedy = "give one made for masking, as BERT's is, or leave --tokenizer out to have one learned"
                raise Refused(f"the tokenizer has no {' or '.join(names)} token; {remedy}")
            roles[role] = known[0]
        ids = np.fromiter(vocabulary.values(), np.int32)
        table = np.zeros(ids.max() + 1, bool)
        added = [i for i, token in tokenizer.get_added_tokens_decoder().items() if token.special]
        table[[*roles.values(), *added, *(vocabulary[name] for name in UNKNOWN if name in vocabulary)]] = True
        return cls(**roles, table=table, pool=np.sort(ids[~table[ids]]))


special_of = lru_cache(maxsize=1)(Special.of)  # shard after shard asks for those of the same tokenizer


# --- one of the source's own -----------------------------------------------------------------------------------------

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # ids 0 to 4


WORDS = 200_000  # distinct words the trainer is shown: it takes a kilobyte or more for each


def train(texts: Iterable[str], size: int) -> Tokenizer:
    """Learn a cased WordPiece tokenizer of at most `size` pieces from the most frequent words.

    The trainer numbers pieces of one letter in the order of a hash table, another one in every process, and what it
    merges depends on the numbers (tokenizers #1794): so all of them are declared, in order, and it may add none.
    """
    from tokenizers.trainers import WordPieceTrainer

    tokenizer, counts = wordpiece({}), Counter[str]()
    for text in texts:
        counts.update(text.split())
    words = sorted(counts.items(), key=lambda word: (-word[1], word[0]))[:WORDS]
    declared = [*SPECIAL, *letters(tokenizer, words, size // 4)]
    trainer = WordPieceTrainer(vocab_size=size, min_frequency=2, show_progress=False, special_tokens=declared)
    trainer.limit_alphabet = 0
    tokenizer.train_from_iterator((f"{word} " * count for word, count in words), trainer)
    return wordpiece(tokenizer.get_vocab())


def letters(tokenizer: Tokenizer, words: Sequence[tuple[str, int]], most: int) -> list[str]:
    """The `most` frequent characters in order, then those that continue words as "##c"."""
    counts: Counter[str] = Counter()
    for word, count in words:
        for letter in word:
            counts[letter] += count
    first, inner = [], []
    for letter in sorted(counts, key=lambda c: (-counts[c], c))[:most]:
        normal = tokenizer.normalizer.normalize_str("a" + letter)
        cut = [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(normal)]
        first += [letter] if cut != ["a"] else []  # else white space, or deleted
        inner += ["##" + letter] if cut == ["a" + letter] else []  # else a word by itself
    return sorted(first) + sorted(inner)


def wordpiece(vocabulary: dict[str, int]) -> Tokenizer:
    """BERT's tokenizer, cased, with this vocabulary."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    if vocabulary:
        tokenizer.add_special_tokens(list(SPECIAL))
        tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer
