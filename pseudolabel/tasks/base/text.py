"""Tasks over tokens: the options they share, the vocabulary they learn, and the rows of those that pack documents."""

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
from pseudolabel.tasks.base.task import Labeler, Reader, Row, Rows, Task, guess_among_classes, row_columns
from pseudolabel.transforms.text.detokenize import Detokenizer, load_detokenizer
from pseudolabel.transforms.text.packing import Packed, Packing
from pseudolabel.transforms.text.tokenize import CONTINUES_WORD, Tokens, load_tokens
from pseudolabel.transforms.text.vocabulary import SpecialTokens, load_special, tokenizer_description, train_wordpiece

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class TextTask(TextOptions, Task):
    """A task over documents: its labeler takes blocks of them."""

    def reader(self) -> Reader:
        return TextReader(self)


BATCH_TOKENS = 1 << 19  # tokens in a batch of rows, about


def guess_among_tokens(task: TokenTask, artefacts: Path) -> str:
    if any(column.type == "class" for column in task.columns()):
        return guess_among_classes(task, artefacts)
    _, special, _ = task.load_tokenizer(artefacts, words=False, literal=True)
    return f"1 in {len(special.pool):,} for each token asked for, guessing among the vocabulary"


@dataclass(frozen=True)
class TokenTask(TextTask):
    """A task over tokens. Without a tokenizer it learns one from the source."""

    artefact_copies: ClassVar[Mapping[str, str]] = {"tokenizer": "tokenizer.json"}
    packs: ClassVar[bool] = True

    length: Annotated[int, Option(min=4, max=65_536, help="Tokens in a row.")] = 128
    tokenizer: Annotated[
        str, Option(help="A tokenizer.json or a hub name. Without it a vocabulary is learned from the source.")
    ] = ""
    vocab_size: Annotated[int, Option(min=100, help="Pieces in the learned vocabulary, at most.")] = 30_522
    as_text: Annotated[bool, Option(help="Add columns of text: what is shown, and what is asked for.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokenizer:
            from tokenizers import Tokenizer

            SpecialTokens.of(Tokenizer.from_str(self.tokenizer_json), self.needs())

    @cached_property
    def tokenizer_json(self) -> str:
        """The content of the given tokenizer's tokenizer.json."""
        return tokenizer_description(self.tokenizer)

    def options(self) -> Mapping[str, Any]:
        content = {"tokenizer_sha256": sha256(self.tokenizer_json.encode()).hexdigest()} if self.tokenizer else {}
        return {**super().options(), **content}

    def needs(self) -> tuple[str, ...]:
        """The special tokens without which a tokenizer is of no use here."""
        return "cls", "sep", "pad", "mask"

    @property
    def observed_megabytes(self) -> int:  # type: ignore[override]
        """16: some five seconds of training."""
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
        """The tokenizer that was saved, for the options of `Tokens`; how it writes, if that is asked for."""
        tokens = load_tokens((artefacts / "tokenizer.json").read_bytes().decode(), words, literal)
        written = load_detokenizer(tokens.tokenizer) if self.as_text else None
        return tokens, load_special(tokens.tokenizer, self.needs()), written

    def batch(self, keys: pa.Array, copy: int, columns: Sequence[pa.Array]) -> pa.RecordBatch:
        """Rows of this task's schema."""
        import pyarrow as pa

        schema = pa.schema([(column.name, column.arrow) for column in row_columns(self)])
        return pa.RecordBatch.from_arrays([keys, pa.array(np.full(len(keys), copy, np.int32)), *columns], schema=schema)


@dataclass(frozen=True)
class PackedTask(TokenTask):
    """A task whose rows are stretches of the stream of documents."""

    @abstractmethod
    def packing(self, tokens: Tokens, special: SpecialTokens) -> Packing:
        """How documents become rows of text."""

    @abstractmethod
    def label(self, text: PackedText, rng: np.random.Generator) -> list[pa.Array]:
        """The task's columns for some rows."""

    @abstractmethod
    def check_rows(
        self, rows: pa.RecordBatch, source: np.ndarray | None, special: SpecialTokens
    ) -> Sequence[str | None]:
        """Of each row the fault, if its label is false; `source`: (r, w) ids, the text it was made of."""

    @abstractmethod
    def draw(self, row: Row, special: SpecialTokens, spelling: Detokenizer) -> Iterable[Piece]:
        """The row as a person sees it."""

    def whole_words(self) -> bool:
        """Whether `label` must know where words begin."""
        return False

    def literal(self) -> bool:
        """Whether the names of special tokens, where they stand in the source, are those tokens."""
        return True

    def labeler(self, artefacts: Path) -> Labeler:
        return PackedLabeler(self, *self.load_tokenizer(artefacts, self.whole_words(), self.literal()))


def list_to_array(rows: pa.RecordBatch, name: str, width: int) -> np.ndarray:
    """A list column as (r, width). Raises `UnusableSample` where a row is of another length."""
    column = rows.column(name)
    if (np.diff(column.offsets.to_numpy()) != width).any():
        raise UnusableSample(f"`{name}` is not of {width} tokens")
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False)).reshape(-1, width)


def framing_faults(ids: np.ndarray, attention: np.ndarray, special: SpecialTokens) -> list[tuple[np.ndarray, str]]:
    """(r, L) ids, (r, L) -> (r,) bool where rows are not [CLS] ... [SEP] [PAD]..., each with the reason."""
    columns, last = np.arange(ids.shape[1]), attention.sum(1, dtype=np.int64) - 1
    attended = columns <= last[:, None]
    return [
        (((ids < 0) | (ids >= len(special.table))).any(1), "it has ids that are none of the vocabulary"),
        ((attention != attended).any(1), "`attention_mask` is not 1 up to a place and 0 from there on"),
        ((ids[:, 0] != special.cls) | (ids[np.arange(len(ids)), last] != special.sep), "it is not [CLS] ... [SEP]"),
        ((~attended & (ids != special.pad)).any(1), "what is not attended to is no padding"),
    ]


def first_faults(*tests: tuple[np.ndarray, str]) -> list[str | None]:
    """(r,) bool where rows are wrong, with the reason -> of each row its first."""
    found = np.select([wrong for wrong, _ in tests], np.arange(len(tests)), -1)
    return [tests[which][1] if which >= 0 else None for which in found.tolist()]


class PackedText(NamedTuple):
    """Rows of text as packed, and what is needed to write them."""

    ids: np.ndarray  # (r, w) int32
    inside: np.ndarray  # (r, w) bool: goes on with the word of the token before; nowhere, unless `whole_words`
    turn: int  # which of the packing's widths
    special: SpecialTokens
    spelling: Detokenizer | None  # if the rows are wanted as text, too


class PackedLabeler(NamedTuple):
    """The labeler: a shard's documents as one stream, cut into rows, each labelled as often as there are copies."""

    task: PackedTask
    tokens: Tokens
    special: SpecialTokens
    spelling: Detokenizer | None

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows]:
        for packed in self.task.packing(self.tokens, self.special).rows(samples):
            yield from self._rows(packed, chance, copies)

    def _rows(self, packed: Packed, chance: Chance, copies: int) -> Iterator[Rows]:
        """The rows of these texts: batches, of which the first says how many documents are done with."""
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
