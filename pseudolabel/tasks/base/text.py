"""Base classes of text tasks: shared options, the learned vocabulary, and rows packed from a stream of documents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.contracts import Chance, Piece, Sample, UnusableSample
from pseudolabel.readers.text.reader import TextOptions, TextReader
from pseudolabel.tasks.base.task import Labeler, Reader, Row, Rows, Task, row_columns
from pseudolabel.transforms.text.detokenize import Detokenizer, load_detokenizer
from pseudolabel.transforms.text.packing import Packed, Packing
from pseudolabel.transforms.text.tokenize import CONTINUES_WORD, Tokens, load_tokens
from pseudolabel.transforms.text.vocabulary import SpecialTokens, load_special, tokenizer_description, train_wordpiece

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class TextTask(TextOptions, Task):
    """A task over documents: its labeler takes blocks of documents."""

    def reader(self) -> Reader:
        return TextReader(self)


BATCH_TOKENS = 1 << 19  # approximate number of tokens in a batch of rows


@dataclass(frozen=True)
class TokenTask(TextTask):
    """A task over tokens. Without `--tokenizer` it learns a WordPiece tokenizer from the source."""

    artefact_copies: ClassVar[Mapping[str, str]] = {"tokenizer": "tokenizer.json"}
    packs: ClassVar[bool] = True

    length: Annotated[int, Option(min=4, max=65_536, help="Tokens per row.")] = 128
    tokenizer: Annotated[
        str, Option(help="Path of a tokenizer.json, or a name on the Hugging Face Hub. [learned from the source]")
    ] = ""
    vocab_size: Annotated[int, Option(min=100, help="Maximum size of the learned vocabulary.")] = 30_522
    as_text: Annotated[bool, Option(help="Add columns with input and label as text.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokenizer:
            from tokenizers import Tokenizer

            SpecialTokens.of(Tokenizer.from_str(self.tokenizer_json), self.needs())

    @cached_property
    def tokenizer_json(self) -> str:
        """Return the content of the tokenizer.json of `--tokenizer`."""
        return tokenizer_description(self.tokenizer)

    def options(self) -> Mapping[str, Any]:
        content = {"tokenizer_sha256": sha256(self.tokenizer_json.encode()).hexdigest()} if self.tokenizer else {}
        return {**super().options(), **content}

    def needs(self) -> tuple[str, ...]:
        """Return the roles of the special tokens that the tokenizer must have."""
        return "cls", "sep", "pad", "mask"

    @property
    def observed_megabytes(self) -> int:  # type: ignore[override]
        """Return 16 (about five seconds of training), or 0 with `--tokenizer`."""
        return 0 if self.tokenizer else 16

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        for sample in samples:
            yield np.frombuffer(b"\n".join(sample.payload.texts()), np.uint8)

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        if self.tokenizer:
            (artefacts / "tokenizer.json").write_bytes(self.tokenizer_json.encode())
        else:
            train_wordpiece((text.tobytes().decode() for text in seen), self.vocab_size).save(
                str(artefacts / "tokenizer.json")
            )

    def load_tokenizer(
        self, artefacts: Path, words: bool, literal: bool
    ) -> tuple[Tokens, SpecialTokens, Detokenizer | None]:
        """Load the tokenizer of `fit`, and the detokenizer if `--as-text` is set. `words`, `literal`: see `Tokens`."""
        tokens = load_tokens((artefacts / "tokenizer.json").read_bytes().decode(), words, literal)
        written = load_detokenizer(tokens.tokenizer) if self.as_text else None
        return tokens, load_special(tokens.tokenizer, self.needs()), written

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
    def draw(self, row: Row, special: SpecialTokens, spelling: Detokenizer) -> Iterable[Piece]:
        """Return the pieces that display the row."""

    def whole_words(self) -> bool:
        """Return whether `label` needs to know where words begin."""
        return False

    def literal(self) -> bool:
        """Return whether the name of a special token in the source text becomes that token."""
        return True

    def labeler(self, artefacts: Path) -> Labeler:
        return PackedLabeler(self, *self.load_tokenizer(artefacts, self.whole_words(), self.literal()))


def list_to_array(rows: pa.RecordBatch, name: str, width: int) -> np.ndarray:
    """Return a list column as `(r, width)`. Raise `UnusableSample` if a list has another length."""
    column = rows.column(name)
    if (np.diff(column.offsets.to_numpy()) != width).any():
        raise UnusableSample(f"`{name}` has a length other than {width}")
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)


def framing_faults(ids: np.ndarray, attention: np.ndarray, special: SpecialTokens) -> list[tuple[np.ndarray, str]]:
    """Return tests of `(r, L)` inputs: `(r,)` bool, true if a row is not [CLS] ... [SEP] [PAD]..., and the reason."""
    columns, last = np.arange(ids.shape[1]), attention.sum(1, dtype=np.int64) - 1
    attended = columns <= last[:, None]
    return [
        (((ids < 0) | (ids >= len(special.table))).any(1), "the row has ids outside the vocabulary"),
        ((attention != attended).any(1), "`attention_mask` is not ones followed by zeros"),
        ((ids[:, 0] != special.cls) | (ids[np.arange(len(ids)), last] != special.sep), "the row is not [CLS]...[SEP]"),
        ((~attended & (ids != special.pad)).any(1), "a token with `attention_mask` 0 is not [PAD]"),
    ]


def first_faults(*tests: tuple[np.ndarray, str]) -> list[str | None]:
    """Return the first reason of each row, or None. A test is `(r,)` bool, true for faulty rows, and a reason."""
    found = np.select([wrong for wrong, _ in tests], np.arange(len(tests)), -1)
    return [tests[which][1] if which >= 0 else None for which in found.tolist()]


class PackedText(NamedTuple):
    """A batch of packed rows of text, with the special tokens and the detokenizer for writing them."""

    ids: np.ndarray  # (r, w) int32
    inside: np.ndarray  # (r, w) bool: the token continues a word; all False unless `whole_words`
    turn: int  # index of the row width in `Packing.widths`
    special: SpecialTokens
    spelling: Detokenizer | None  # None without `--as-text`


class PackedLabeler(NamedTuple):
    """The labeler of packed tasks: cuts a shard's stream of documents into rows, and labels each row once per copy."""

    task: PackedTask
    tokens: Tokens
    special: SpecialTokens
    spelling: Detokenizer | None

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows]:
        for packed in self.task.packing(self.tokens, self.special).rows(samples):
            yield from self._rows(packed, chance, copies)

    def _rows(self, packed: Packed, chance: Chance, copies: int) -> Iterator[Rows]:
        """Yield the labelled rows in batches. Only the first batch has the number of documents, the others have 0."""
        size = max(1, BATCH_TOKENS // packed.texts.shape[1])
        for copy in range(copies):
            rng = chance(packed.key, copy)
            for i in range(0, max(1, len(packed.texts)), size):
                ids = packed.texts[i : i + size]
                text = PackedText(
                    ids & ~CONTINUES_WORD, (ids & CONTINUES_WORD) != 0, packed.turn, self.special, self.spelling
                )
                batch = self.task.batch(packed.keys[i : i + size], copy, self.task.label(text, rng))
                yield Rows(batch, packed.documents if (copy, i) == (0, 0) else 0, text.ids)

    def check_rows(self, rows: pa.RecordBatch, source: np.ndarray | None) -> Sequence[str | None]:
        return self.task.check_rows(rows, source, self.special)

    def draw(self, row: Row) -> Iterable[Piece]:
        return self.task.draw(row, self.special, load_detokenizer(self.tokens.tokenizer))
