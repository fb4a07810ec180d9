"""Masked language modelling: tell the hidden words from those around them (Devlin et al. 2019, BERT)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.columns import Column
from pseudolabel.packing import Packed, Packing, lists
from pseudolabel.sample import Chance, Refused, Sample
from pseudolabel.spelling import spelling
from pseudolabel.tasks.base import Labeler, Rows, TextTask
from pseudolabel.tokens import Tokens, tokens_from
from pseudolabel.vocabulary import Special, description, special_of, train

if TYPE_CHECKING:
    import pyarrow as pa

UNTOLD = -100  # the label no loss looks at
ROWS = 4096  # in a batch, at most
ENOUGH = 256 << 10  # bytes of text worked on at once, at least


@dataclass(frozen=True)
class MaskText(TextTask):
    """Hide some of a text's tokens; the label is what they were.

    `labels[i]` is the token that stood at i where it is to be told, else -100. Of those, 80 % show [MASK], 10 % another
    one at random and 10 % themselves; they are max(1, round(ratio * n)) of a row's n tokens that are not special.
    Unlike google-research/bert's create_pretraining_data.py: a row is a stretch of the stream of documents, not a pair
    of sentences; the budget has no ceiling and leaves [CLS] and [SEP] out; no special token is hidden or drawn.
    """

    name: ClassVar[str] = "mask-text"
    paper: ClassVar[str] = "Devlin et al. 2019, https://arxiv.org/abs/1810.04805"
    unsafe: ClassVar[tuple[str, ...]] = ("masking again, as DataCollatorForLanguageModeling does",)
    observed_megabytes: ClassVar[int] = 16  # some five seconds of training

    tokenizer: Annotated[
        str, Option(help="A tokenizer.json or a hub name. Without it a vocabulary is learned from the source.")
    ] = ""
    vocab_size: Annotated[int, Option(min=100, help="Pieces in the learned vocabulary, at most.")] = 30_522
    length: Annotated[int, Option(min=4, max=65_536, help="Tokens in a row.")] = 128
    ratio: Annotated[float, Option(min=0, max=1, help="Share of a row's tokens to be told.")] = 0.15
    bernoulli: Annotated[bool, Option(help="Choose each token by itself, so that their number varies.")] = False
    as_text: Annotated[bool, Option(help="Add the text with its blanks, and the words that fill them.")] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 4 <= self.length <= 65_536:
            raise Refused(f"--length {self.length} is no length for a row; type 4 to 65536, such as 128 or 512")
        if not 0 < self.ratio <= 1:
            raise Refused(f"--ratio {self.ratio} is no share of the tokens; type one above 0 and up to 1, such as 0.15")
        if self.vocab_size < 100:
            raise Refused(f"--vocab-size {self.vocab_size} is too few to write with; type 100 or more, such as 30522")
        if self.tokenizer:
            from tokenizers import Tokenizer

            Special.of(Tokenizer.from_str(self.description))

    @cached_property
    def description(self) -> str:
        """The content of the given tokenizer's tokenizer.json."""
        return description(self.tokenizer)

    def options(self) -> Mapping[str, Any]:
        content = {"tokenizer_sha256": sha256(self.description.encode()).hexdigest()} if self.tokenizer else {}
        return {**super().options(), **content}

    def columns(self) -> Sequence[Column]:
        return [
            Column("input_ids", "list<int32>", "input", "Token ids: [CLS] text [SEP], with some of the text hidden."),
            Column("labels", "list<int32>", "label", "The token that stood here where it is to be told, else -100."),
            Column("attention_mask", "list<int8>", "input", "1 for tokens, 0 for padding."),
            Column("text", "string", "input", "The row as a person reads it, with a [MASK] for each token to be told."),
            Column("answers", "list<string>", "label", "What fills the blanks of `text`, in order."),
        ][: 5 if self.as_text else 3]

    def learns(self) -> bool:
        return not self.tokenizer

    def observe(self, samples: Iterator[Sample]) -> Iterator[np.ndarray]:
        for sample in samples:
            yield np.frombuffer(b"\n".join(sample.payload.texts()), np.uint8)

    def fit(self, seen: Iterator[np.ndarray], artefacts: Path, rng: np.random.Generator) -> None:
        if self.tokenizer:
            (artefacts / "tokenizer.json").write_bytes(self.description.encode())
        else:
            train((text.tobytes().decode() for text in seen), self.vocab_size).save(str(artefacts / "tokenizer.json"))

    def labeler(self, artefacts: Path) -> Labeler:
        tokens = tokens_from((artefacts / "tokenizer.json").read_bytes().decode())
        return Masking(self, tokens, special_of(tokens.tokenizer))


# --- rows ------------------------------------------------------------------------------------------------------------


class Masking(NamedTuple):
    """The labeler: a shard's documents as one stream, cut into rows, each masked as often as there are copies."""

    task: MaskText
    tokens: Tokens
    special: Special

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows]:
        packing = Packing(self.tokens, self.special.sep, self.task.length - 2)
        for packed in packing.rows(samples):
            yield from self._rows(packed, chance, copies)

    def _rows(self, packed: Packed, chance: Chance, copies: int) -> Iterator[Rows]:
        """The rows of these texts: batches, of which the first says how many documents are done with."""
        import pyarrow as pa

        schema = pa.schema([(column.name, column.arrow) for column in self.task.schema()])
        for copy in range(copies):
            rng = chance(packed.key, copy)
            for i in range(0, max(1, len(packed.texts)), ROWS):
                ids, attention = framed(packed.texts[i : i + ROWS], self.task.length, self.special)
                about = [packed.keys[i : i + ROWS], pa.array(np.full(len(ids), copy, np.int32))]
                batch = pa.RecordBatch.from_arrays([*about, *self._masked(ids, attention, rng)], schema=schema)
                yield Rows(batch, packed.documents if (copy, i) == (0, 0) else 0)

    def _masked(self, ids: np.ndarray, attention: np.ndarray, rng: np.random.Generator) -> list[pa.Array]:
        """(r, L) ids, (r, L) attention mask -> the task's columns."""
        choose = independent if self.task.bernoulli else budget
        chosen = choose(~self.special.table[ids], self.task.ratio, rng)
        labels = np.where(chosen, ids, np.int32(UNTOLD))
        shown = corrupted(ids, chosen, self.special, rng)
        read = spelling(self.tokens.tokenizer).read(ids, chosen, self.special) if self.task.as_text else []
        return [*map(lists, (shown, labels, attention)), *read]


def framed(texts: np.ndarray, length: int, special: Special) -> tuple[np.ndarray, np.ndarray]:
    """(r, w) ids -> (r, length) int32 [CLS] text [SEP] [PAD]..., (r, length) int8 attention mask."""
    rows, width = texts.shape
    ids = np.full((rows, length), special.pad, np.int32)
    ids[:, 0], ids[:, 1 : width + 1], ids[:, width + 1] = special.cls, texts, special.sep
    return ids, np.tile((np.arange(length) < width + 2).astype(np.int8), (rows, 1))


def budget(candidates: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """(r, L) bool -> (r, L) bool: max(1, round(ratio * n)) of the n candidates of each row, whichever.

    Every place draws a number, told from the row's others by its column in the low bits; the candidates' smallest win.
    """
    rows, length = candidates.shape
    wanted = np.maximum(1, np.rint(ratio * candidates.sum(1))).astype(np.int64)
    low = np.uint32((length - 1).bit_length())
    drawn = rng.integers(0, 1 << 32, (rows, length), np.uint32) >> low << low | np.arange(length, dtype=np.uint32)
    drawn[~candidates] = 0xFFFFFFFF
    last = np.take_along_axis(np.sort(drawn, 1), wanted[:, None] - 1, 1)
    return candidates & (drawn <= last)


def independent(candidates: np.ndarray, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """(r, L) bool -> (r, L) bool: each candidate with probability `ratio`, as the Hugging Face collator does."""
    return candidates & (rng.random(candidates.shape, np.float32) < ratio)


def corrupted(ids: np.ndarray, chosen: np.ndarray, special: Special, rng: np.random.Generator) -> np.ndarray:
    """(r, L) ids -> (r, L) ids: of the chosen 80 % become [MASK], 10 % a random token, and 10 % stay."""
    shown, at = ids.copy(), np.nonzero(chosen)
    fate = rng.random(len(at[0]))
    random = special.pool[rng.integers(0, max(1, len(special.pool)), len(at[0]))]
    shown[at] = np.select([fate < 0.8, fate < 0.9], [np.int32(special.mask), random], ids[at])
    return shown
