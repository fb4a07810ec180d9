"""Vocabulary: load a tokenizer from a file or the hub, or learn it from the source."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from pseudolabel.contracts import UserError, one_line

if TYPE_CHECKING:
    from tokenizers import Tokenizer

TOKENIZER = "tokenizer.json"
CONFIGURATION = "tokenizer_config.json"
HEAD_BYTES = 1 << 16  # bytes that tell the format of a file
SENTENCEPIECE = re.compile(rb"\n[^\x00\n]\n.{1,99}?\x15", re.DOTALL)  # protobuf: a list of pieces with their scores
HUB_SECONDS = 10  # seconds to wait for the hub
REMEDY = f"give a {TOKENIZER}, its folder, or the name of a model on the hub that has one"
CONFIGURATIONS = (CONFIGURATION, "special_tokens_map.json")  # as transformers saves them


def load_description(name: str) -> tuple[str, dict[str, str]]:
    """Return the content of a tokenizer.json, and the tokens with a role in the configuration beside it.

    `name`: the file, its folder, or a model on the Hugging Face Hub. The keys are those of
    tokenizer_config.json, such as "mask_token". Raise `UserError` if the tokenizer cannot be loaded or is unusable.
    """
    from tokenizers import Tokenizer

    path = Path(name)
    if path.is_dir() and not (path / TOKENIZER).is_file():
        for file in sorted(path.iterdir()):
            if found := conversion(file):
                raise UserError(f"--tokenizer {name} holds no {TOKENIZER}, but {file.name}, {found[0]}\n{found[1]}")
        raise UserError(f"--tokenizer {name} holds no {TOKENIZER}; save it there with save_pretrained of transformers")
    if found := conversion(path):
        raise UserError(f"--tokenizer {name} is {found[0]}, not a {TOKENIZER}\n{found[1]}")
    if path.suffix == ".json" and not path.is_file():
        raise UserError(f"--tokenizer {name} is not a file; give the path of a {TOKENIZER}, or a name on the hub")
    if not (local := path.exists()):
        _ask_hub(name)
    path = path / TOKENIZER if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(path)) if local else Tokenizer.from_pretrained(name)
    except Exception as error:
        raise UserError(f"--tokenizer {name} cannot be loaded ({one_line(error)}); {REMEDY}") from None
    if getattr(tokenizer.model, "dropout", None):
        raise UserError(f"--tokenizer {name} splits words at random; set its model's dropout to null")
    unknown = getattr(tokenizer.model, "unk_token", None)
    if unknown and tokenizer.token_to_id(unknown) is None:
        raise UserError(f"--tokenizer {name} has no {unknown} in its vocabulary, but its model needs it; add the token")
    if drops_letters(tokenizer):
        remedy = "set unk_token, or unk_id of a Unigram model, to a token of its vocabulary"
        raise UserError(f"--tokenizer {name} has no token for letters that its model does not know; {remedy}")
    named = configured_tokens(*(path.parent / file if local else _hub_file(name, file) for file in CONFIGURATIONS))
    return path.read_bytes().decode() if local else str(tokenizer.to_str()), named


def conversion(path: Path) -> tuple[str, str] | None:
    """Return what a file is that holds a tokenizer in another format, and how to make a tokenizer.json of it."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    folder, made = path.parent, quote((path.parent / TOKENIZER).as_posix())
    if SENTENCEPIECE.match(head):
        alone = path.name != "tokenizer.model" and not (folder / "config.json").is_file()
        copy, source = ("copy it to IN/tokenizer.model; ", Path("IN")) if alone else ("", folder)
        command = _python("transformers", "AutoTokenizer", f".from_pretrained({_text(source)}).save_pretrained('OUT')")
        steps = f"pip install transformers sentencepiece protobuf; {copy}give --tokenizer OUT after this:"
        return "a SentencePiece model", f"{steps}\n{command}"
    if len(re.findall(rb"^\[(?:UNK|CLS|SEP|PAD|MASK)\]\r?$", head, re.MULTILINE)) > 1:
        command = _python("tokenizers", "BertWordPieceTokenizer", f"({_text(path)}, lowercase=True)", folder)
        return (
            "a WordPiece vocabulary",
            f"give --tokenizer {made} after this, with lowercase=False if it is cased:\n{command}",
        )
    if path.name in (parts := ("vocab.json", "merges.txt")):
        if missing := [name for name in parts if not (folder / name).is_file()]:
            return "a part of a BPE", f"put {missing[0]} beside it"
        of_bytes = b"</w>" not in (folder / "merges.txt").read_bytes()
        kind = "ByteLevelBPETokenizer" if of_bytes else "CharBPETokenizer"
        files = ", ".join(_text(folder / name) for name in parts)
        return (
            "a part of a BPE",
            f"give --tokenizer {made} after this:\n{_python('tokenizers', kind, f'({files})', folder)}",
        )
    return None


def _python(package: str, kind: str, call: str, folder: Path | None = None) -> str:
    """Return the command that makes a tokenizer, and saves it as tokenizer.json in a folder if one is given."""
    save = f".save({_text(folder / TOKENIZER)})" if folder else ""
    return f"python -c {quote(f'from {package} import {kind} as T; T{call}{save}')}"


def _text(path: Path) -> str:
    return json.dumps(path.as_posix(), ensure_ascii=False)


def drops_letters(tokenizer: Tokenizer) -> bool:
    """Return whether the tokenizer has no token for some letters: neither [UNK] nor tokens for all bytes of UTF-8.

    Then BPE leaves them out without a trace, and Unigram raises an error.
    """
    from tokenizers import models, pre_tokenizers

    model = tokenizer.model
    if isinstance(model, models.Unigram):
        return bool(json.loads(tokenizer.to_str())["model"]["unk_id"] is None)
    if not isinstance(model, models.BPE) or model.unk_token:
        return False
    # One character or more for each byte that UTF-8 has.
    text = "".join(map(chr, (*range(0x800), *range(0x800, 0xD800, 0x800), *range(0xE000, 0x110000, 0x1000))))
    letters, _ = pre_tokenizers.ByteLevel(False, use_regex=False).pre_tokenize_str(text)[0]
    names = {f"<0x{byte:02X}>" for byte in text.encode()} if model.byte_fallback else {*letters}
    return not any(pieces <= tokenizer.get_vocab().keys() for pieces in ({*letters}, names))


def _ask_hub(name: str) -> None:
    """Raise `UserError` if the hub does not give the tokenizer: its client would try again for half a minute."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

    try:
        if not isinstance(try_to_load_from_cache(name, TOKENIZER), str):
            get_hf_file_metadata(hf_hub_url(name, TOKENIZER), timeout=HUB_SECONDS)
    except Exception as fault:  # of the name, the network or the hub
        why = one_line(fault) or type(fault).__name__
        raise UserError(f"--tokenizer {name} is not here, and the hub does not give it ({why}); {REMEDY}") from None


def _hub_file(name: str, file: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, file))
    except EntryNotFoundError:
        return None


def configured_tokens(configuration: Path | None, tokens_map: Path | None = None) -> dict[str, str]:
    """Return the tokens with a role of a tokenizer_config.json and a special_tokens_map.json, if they exist.

    The map has priority, unless the configuration has "added_tokens_decoder": as in `_from_pretrained` of transformers.
    """
    named = _read_object(configuration)
    if "added_tokens_decoder" not in named:
        named |= _read_object(tokens_map)
    tokens = {key: value for key, value in named.items() if key.endswith("_token")}
    contents = {key: value.get("content") if isinstance(value, dict) else value for key, value in tokens.items()}
    return {key: content for key, content in contents.items() if isinstance(content, str)}


def _read_object(path: Path | None) -> dict[str, Any]:
    if not path or not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text("utf-8")).items())
    except (ValueError, AttributeError):
        raise UserError(f"{path} is not a JSON object; repair or remove it") from None


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
