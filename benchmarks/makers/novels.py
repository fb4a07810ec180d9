"""Novels. From the second copy of a novel on, its lines are shuffled and its rarest words respelled: so new words keep
coming, as they do in a larger library (Heaps' law)."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import numpy as np
from makers.real_files import sources

WORD = re.compile(r"[^\W\d_]{3,}")
WORDS = 30_522  # in the vocabulary of the tokenizer, as BERT's


def make_novels(megabytes: int, folder: Path, data: Path) -> None:
    """Novels in UTF-8, a file each, of so many megabytes in all."""
    books = [*sources(data, "text_large", ".txt", is_novel), *sources(data, "text/novels", ".txt", is_novel)]
    order = np.random.default_rng(4).permutation(len(books))
    texts = [books[i].read_text("utf-8-sig") for i in order]
    counts = Counter(word for text in texts for word in WORD.findall(text))
    rare, room, copy = {word for word, count in counts.items() if count == 1}, megabytes * 10**6, 0
    while room > 0:
        for number, text in enumerate(texts):
            content = (another_copy(text, rare, copy, number) if copy else text).encode()[:room]
            content = content.decode("utf-8", "ignore").encode()
            (folder / f"{copy:02d}-{number:03d}-{books[order[number]].stem}.txt").write_bytes(content)
            room -= len(content)
            if room <= 3:
                return
        copy += 1


def is_novel(path: Path) -> bool:
    """Whether it is UTF-8 of 50 KB and more."""
    try:
        return path.stat().st_size > 50_000 and bool(path.read_text("utf-8"))
    except UnicodeDecodeError:
        return False


def another_copy(text: str, rare: set[str], copy: int, number: int) -> str:
    """The same lines in another order, the rare words spelt in another way."""
    lines = text.splitlines(keepends=True)
    shuffled = "".join(lines[i] for i in np.random.default_rng([5, copy, number]).permutation(len(lines)))
    return WORD.sub(lambda match: respell(match[0], copy) if match[0] in rare else match[0], shuffled)


def respell(word: str, copy: int) -> str:
    """Another word of the same letters."""
    turn = 1 + copy % (len(word) - 1)
    return word[turn:] + word[:turn]


def train_tokenizer(novels: Path, path: Path) -> None:
    """Write a WordPiece tokenizer.json for novels, trained by tokenizers on the first 16 MB of them."""
    from tokenizers import BertWordPieceTokenizer
    from tokenizers.processors import BertProcessing

    texts = [file.read_text("utf-8") for file in sorted(novels.iterdir())[:40]]
    tokenizer = BertWordPieceTokenizer(strip_accents=False)
    tokenizer.train_from_iterator("\n".join(texts)[: 16 << 20].splitlines(), WORDS, show_progress=False)
    ends = [(token, tokenizer.token_to_id(token)) for token in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = BertProcessing(*ends)
    tokenizer.save(str(path))
