"""Vocabulary: load a tokenizer from a file or the hub, or learn it from the source."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pseudolabel.contracts import UserError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
CONFIGURATION = "tokenizer_config.json"
CONFIGURATIONS = ("special_tokens_map.json", CONFIGURATION)  # as transformers saves them; the last one has priority


def load_description(name: str) -> tuple[str, dict[str, str]]:
    """Return the content of a tokenizer.json, and the tokens with a role in the configuration beside it.

    `name`: the file, its folder, or a model on the Hugging Face Hub. The keys are those of
    tokenizer_config.json, such as "mask_token". Raise `UserError` if the tokenizer cannot be loaded or is unusable.
    """
    from tokenizers import Tokenizer

    path = Path(name)
    if path.is_dir() and not (path / TOKENIZER).is_file():
        raise UserError(f"--tokenizer {name} holds no {TOKENIZER}; save it there with save_pretrained of transformers")
    if path.suffix == ".json" and not path.is_file():
        raise UserError(f"--tokenizer {name} is not a file; give the path of a {TOKENIZER}, or a name on the hub")
    local = path.exists()
    path = path / TOKENIZER if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(path)) if local else Tokenizer.from_pretrained(name)
    except Exception as error:
        remedy = f"give a {TOKENIZER}, its folder, or the name of a model on the hub that has one"
        raise UserError(f"--tokenizer {name} cannot be loaded ({str(error).splitlines()[0]}); {remedy}") from None
    if getattr(tokenizer.model, "dropout", None):
        raise UserError(f"--tokenizer {name} splits words at random; set its model's dropout to null")
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown and tokenizer.token_to_id(unknown) is None:
        raise UserError(f"--tokenizer {name} has no {unknown} in its vocabulary, but its model needs it; add the token")
    beside = [path.parent / file if local else _hub_file(name, file) for file in CONFIGURATIONS]
    named = [token for file in beside if file for token in configured_tokens(file)]
    return path.read_bytes().decode() if local else str(tokenizer.to_str()), dict(named)


def _hub_file(name: str, file: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, file))
    except EntryNotFoundError:
        return None


def configured_tokens(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the keys and tokens of a tokenizer_config.json or special_tokens_map.json, if there is such a file."""
    if not path.is_file():
        return
    try:
        configuration = json.loads(path.read_text("utf-8"))
        tokens = {key: value for key, value in configuration.items() if key.endswith("_token")}
    except (ValueError, AttributeError):
        raise UserError(f"{path} is not a JSON object; repair or remove it") from None
    for key, value in tokens.items():
        content = value.get("content") if isinstance(value, dict) else value  # dict: an AddedToken
        if isinstance(content, str):
            yield key, content


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
