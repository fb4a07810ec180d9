"""Base classes of text tasks: shared options, the learned vocabulary, and rows packed from a stream of documents."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import IGNORE_INDEX, Chance, Piece, Sample, Skipped, UnusableSample, UserError
from pseudolabel.readers.text.reader import TextOptions, TextReader
from pseudolabel.tasks.base.task import Labeler, Reader, Row, Rows, Task, row_columns
from pseudolabel.transforms.text.detokenize import Detokenizer, load_detokenizer
from pseudolabel.transforms.text.packing import Packed, Packing
from pseudolabel.transforms.text.special_tokens import (
    REQUIRED_ROLES,
    ROLES,
    Frame,
    SpecialTokens,
    load_special,
    role_tokens,
)
from pseudolabel.transforms.text.tokenize import CONTINUES_WORD, Tokens, load_tokens
from pseudolabel.transforms.text.vocabulary import (
    CONFIGURATION,
    TOKENIZER,
    configured_tokens,
    load_description,
    train_wordpiece,
)

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Tokenizer


@dataclass(frozen=True)
class TextTask(TextOptions, Task):
    """A task over documents: its labeler takes blocks of documents."""

    def reader(self) -> Reader:
        return TextReader(self)


BATCH_TOKENS = 1 << 19  # approximate number of tokens in a batch of rows
NOTHING_FITS = "no token to predict: each word or span is longer than --ratio allows"
UNKNOWN_TEXT = "no token to predict: the tokenizer knows none of the text, all of it is [UNK] or other special tokens"


@dataclass(frozen=True)
class TokenTask(TextTask):
    """A task over tokens. Without `--tokenizer` it learns a WordPiece tokenizer from the source."""

    artefact_copies: ClassVar[Mapping[str, str]] = {"tokenizer": "tokenizer.json"}
    packs: ClassVar[bool] = True

    length: Annotated[int, Option(min=4, max=65_536, help="Tokens per row.")] = 128
    tokenizer: Annotated[
        str,
        Option(
            help="A tokenizer.json, its folder as transformers saves it, or a name on the Hub. [WordPiece is learned]"
        ),
    ] = ""
    cls_token: Annotated[str, Option(help="Token before each row. [the tokenizer's]")] = ""
    sep_token: Annotated[str, Option(help="Token between documents and after each row. [the tokenizer's]")] = ""
    pad_token: Annotated[str, Option(help="Token that fills a row. [the tokenizer's]")] = ""
    mask_token: Annotated[str, Option(help="Token that hides another. [the tokenizer's]")] = ""
    vocab_size: Annotated[int, Option(min=100, help="Maximum size of the learned vocabulary.")] = 30_522
    as_text: Annotated[bool, Option(help="Add columns with input and label as text.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for role in REQUIRED_ROLES:
            if getattr(self, f"{role}_token") and (not self.tokenizer or role not in self.needs()):
                why = f"{self.name} needs none with these options" if self.tokenizer else "a learned one has its own"
                raise UserError(f"--{role}-token names a token of the tokenizer, but {why}; leave it out")
        if self.tokenizer and self.vocab_size != TokenTask.vocab_size:
            raise UserError("--vocab-size is for a learned vocabulary, not for --tokenizer; leave one of them out")
        if self.tokenizer:
            least = self.frame(self.given_tokens).size + 2
            if self.length < least:
                raise UserError(f"--length {self.length} leaves no room for text; give {least} or more, such as 128")

    @cached_property
    def tokenizer_files(self) -> tuple[str, dict[str, str]]:
        """Return the content of tokenizer.json of `--tokenizer`, and the tokens with a role. Options override them."""
        description, named = load_description(self.tokenizer)
        given = {f"{role}_token": getattr(self, f"{role}_token", "") for role in ROLES}
        return description, named | {key: token for key, token in given.items() if token}

    @cached_property
    def given_tokens(self) -> SpecialTokens:
        """Return the special tokens of `--tokenizer`."""
        from tokenizers import Tokenizer

        description, named = self.tokenizer_files
        tokenizer = Tokenizer.from_str(description)
        for role in REQUIRED_ROLES:
            if (token := getattr(self, f"{role}_token")) and tokenizer.token_to_id(token) is None:
                raise UserError(f"--{role}-token {token} is not in the vocabulary of --tokenizer; give one that is")
        return self.special_tokens(tokenizer, named)

    def special_tokens(self, tokenizer: Tokenizer, named: Mapping[str, str]) -> SpecialTokens:
        """Find the special tokens of a tokenizer. `named`: token by key, as in tokenizer_config.json."""
        return load_special(tokenizer, self.needs(), tuple(named.items()), not (self.cls_token or self.sep_token))

    def options(self) -> Mapping[str, Any]:
        if not self.tokenizer:
            return super().options()
        content, special = sha256(self.tokenizer_files[0].encode()).hexdigest(), self.given_tokens
        roles = {role: getattr(special, role) for role in ROLES}
        return {**super().options(), "tokenizer_sha256": content, "special_tokens": roles}

    def needs(self) -> tuple[str, ...]:
        """Return the roles of the special tokens that the tokenizer must have."""
        return REQUIRED_ROLES

    def frame(self, special: SpecialTokens) -> Frame:
        """Return the special tokens of a row."""
        return special.single

    @property
    def observed_megabytes(self) -> int:  # type: ignore[override]
        """Return 16 (about five seconds of training), or 0 with `--tokenizer`."""
        return 0 if self.tokenizer else 16

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        for sample in samples:
            yield np.frombuffer(b"\n".join(sample.payload.texts()), np.uint8)

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        """Save the tokenizer and the tokens with a role, as transformers saves them."""
        from tokenizers import Tokenizer

        if self.tokenizer:
            description, named = self.tokenizer_files
        else:
            texts = (text.tobytes().decode() for text in seen)
            description, named = train_wordpiece(texts, self.vocab_size).to_str(pretty=True), {}
        (artefacts / TOKENIZER).write_bytes(description.encode())
        tokenizer = Tokenizer.from_str(description)
        tokens = role_tokens(tokenizer, tokenizer.get_vocab(), named)
        about = {"tokenizer_class": "PreTrainedTokenizerFast", **{f"{role}_token": tokens[role] for role in tokens}}
        (artefacts / CONFIGURATION).write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")

    def load_tokenizer(
        self, artefacts: Path, words: bool, literal: bool
    ) -> tuple[Tokens, SpecialTokens, Detokenizer | None]:
        """Load the tokenizer of `fit`, and the detokenizer if `--as-text` is set. `words`, `literal`: see `Tokens`."""
        tokens = load_tokens((artefacts / TOKENIZER).read_bytes().decode(), words, literal)
        detokenizer = load_detokenizer(tokens.tokenizer) if self.as_text else None
        named = configured_tokens(artefacts / CONFIGURATION)
        return tokens, self.special_tokens(tokens.tokenizer, named), detokenizer

    def batch(self, keys: pa.Array, copy: int, columns: Sequence[pa.Array]) -> pa.RecordBatch:
        """Return a batch of rows with this task's schema."""
        import pyarrow as pa

        schema = pa.schema([(column.name, column.arrow) for column in row_columns(self)])
        return pa.RecordBatch.from_arrays([keys, pa.array(np.full(len(keys), copy, np.int32)), *columns], schema=schema)


@dataclass(frozen=True)
class PackedTask(TokenTask):
    """A task whose rows are consecutive pieces of the stream of documents."""

    @abstractmethod
    def packing(self, tokens: Tokens, special: SpecialTokens) -> Packing:
        """Return how documents are packed into rows of text."""

    @abstractmethod
    def label(self, text: PackedText, rng: np.random.Generator) -> list[pa.Array]:
        """Return the task's columns for a batch of rows."""

    @abstractmethod
    def check_rows(
        self, rows: pa.RecordBatch, source: np.ndarray | None, special: SpecialTokens
    ) -> Sequence[str | None]:
        """Return for each row the fault if its label is false, else None. `source`: `(r, w)` ids of the packed text."""

    @abstractmethod
    def draw(self, row: Row, special: SpecialTokens, detokenizer: Detokenizer) -> Iterable[Piece]:
        """Return the pieces that display the row."""

    def whole_words(self) -> bool:
        """Return whether `label` needs to know where words begin."""
        return False

    def literal(self) -> bool:
        """Return whether the name of a special token in the source text becomes that token."""
        return True

    def labeler(self, artefacts: Path) -> Labeler:
        return PackedLabeler(self, *self.load_tokenizer(artefacts, self.whole_words(), self.literal()))


def asking_rows(made: Rows, known: np.ndarray, source: Callable[[np.ndarray], Any]) -> Iterator[Rows | Skipped]:
    """Yield the rows that have something to predict, then a `Skipped` for each row that has nothing.

    `known`: (r,) bool, true for rows with text that is not [UNK]. `source`: (r,) bool -> the source of the true rows.
    """
    import pyarrow as pa

    rows, asks = made.rows, known
    assert isinstance(rows, pa.RecordBatch)
    if len(rows) and "labels" in rows.schema.names:
        labels = rows.column("labels").flatten().to_numpy().reshape(len(rows), -1)
        asks = known & (labels.max(1) != IGNORE_INDEX)
    if asks.all():
        yield made
        return
    yield replace(made, rows=rows.filter(pa.array(asks)), source=source(asks))
    for key, empty in zip(rows.column("key").filter(pa.array(~asks)).to_pylist(), ~known[~asks], strict=True):
        yield Skipped(key, UNKNOWN_TEXT if empty else NOTHING_FITS, unusable=False, count=0, rows=1)


def list_to_array(rows: pa.RecordBatch, name: str, width: int) -> np.ndarray:
    """Return a list column as `(r, width)`. Raise `UnusableSample` if a list has another length."""
    column = rows.column(name)
    if (np.diff(column.offsets.to_numpy()) != width).any():
        raise UnusableSample(f"`{name}` has a length other than {width}")
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)


def first_faults(*tests: tuple[np.ndarray, str]) -> list[str | None]:
    """Return for each row the reason of its first failed test, or None. A test is `(r,)` bool (failed) and a reason."""
    found = np.select([wrong for wrong, _ in tests], np.arange(len(tests)), -1)
    return [tests[which][1] if which >= 0 else None for which in found.tolist()]


class PackedText(NamedTuple):
    """A batch of packed rows of text, with the special tokens and the detokenizer for writing them."""

    ids: np.ndarray  # (r, w) int32
    inside: np.ndarray  # (r, w) bool: the token continues a word; all False unless `whole_words`
    turn: int  # index of the row width in `Packing.widths`
    special: SpecialTokens
    detokenizer: Detokenizer | None  # None without `--as-text`


class PackedLabeler(NamedTuple):
    """The labeler of packed tasks. It cuts a shard's documents into rows, and labels each row once per copy."""

    task: PackedTask
    tokens: Tokens
    special: SpecialTokens
    detokenizer: Detokenizer | None

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        for packed in self.task.packing(self.tokens, self.special).rows(samples):
            yield from self._rows(packed, chance, copies)

    def _rows(self, packed: Packed, chance: Chance, copies: int) -> Iterator[Rows | Skipped]:
        """Yield the labelled rows in batches. Only the first batch has the number of documents, the others have 0."""
        size = max(1, BATCH_TOKENS // packed.texts.shape[1])
        for copy in range(copies):
            rng = chance(packed.key, copy)
            for i in range(0, max(1, len(packed.texts)), size):
                ids, keys = packed.texts[i : i + size], packed.keys[i : i + size]
                text = PackedText(
                    ids & ~CONTINUES_WORD, (ids & CONTINUES_WORD) != 0, packed.turn, self.special, self.detokenizer
                )
                batch = self.task.batch(keys, copy, self.task.label(text, rng))
                documents = packed.documents if (copy, i) == (0, 0) else 0
                text_tokens = self.special.is_text(text.ids)
                written = text.ids if self.task.literal() else self.special.plain(text.ids)
                counts = (0, 0) if copy else self.special.count_tokens(written)
                made = Rows(batch, documents, text.ids, *counts)
                yield from asking_rows(made, np.asarray(text_tokens.any(1)), text.ids.__getitem__)

    def check_rows(self, rows: pa.RecordBatch, source: np.ndarray | None) -> Sequence[str | None]:
        return self.task.check_rows(rows, source, self.special)

    def draw(self, row: Row) -> Iterable[Piece]:
        return self.task.draw(row, self.special, load_detokenizer(self.tokens.tokenizer))
