"""Masked language modelling: tell the hidden words from those around them (Devlin et al. 2019, BERT)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, NamedTuple

import numpy as np
from typer import Option

from pseudolabel.columns import Column
from pseudolabel.readers.text import Block
from pseudolabel.sample import Chance, Refused, Sample, file_of
from pseudolabel.tasks.base import Labeler, Rows, TextTask
from pseudolabel.tokens import Tokens, tokens_from, train

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Tokenizer

UNTOLD = -100  # the label no loss looks at
ROLES = {"cls": ("[CLS]", "<s>"), "sep": ("[SEP]", "</s>"), "pad": ("[PAD]", "<pad>"), "mask": ("[MASK]", "<mask>")}
UNKNOWN = ("[UNK]", "<unk>")
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
        return Masking(self, tokens, Special.of(tokens.tokenizer))


# --- the tokenizer ---------------------------------------------------------------------------------------------------


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


# --- rows ------------------------------------------------------------------------------------------------------------


class Kept(NamedTuple):
    """The beginning of a row that the next blocks go on with, and how much there was of the document it lies in."""

    key: str
    ids: np.ndarray  # (k,) int32, k <= length - 2
    document: tuple[str, int]  # file and position
    tokens: int


class Masking(NamedTuple):
    """The labeler: a shard's documents as one stream, cut into rows, each masked as often as there are copies."""

    task: MaskText
    tokens: Tokens
    special: Special

    def label(self, samples: Iterator[Sample], chance: Chance, copies: int) -> Iterator[Rows]:
        kept = Kept("", np.empty(0, np.int32), ("", 0), 0)
        for group in gathered(samples):
            keys, texts, kept = self._cut(group, kept)
            count = sum(sample.count for sample in group)
            yield from self._rows(group[-1].key, keys, texts, count, chance, copies)
        if len(kept.ids) > 1:
            text = kept.ids[None, :-1]  # the last [SEP] is the row's own
            yield from self._rows(kept.key, _strings([kept.key]), text, 0, chance, copies)

    def _cut(self, group: Sequence[Sample], kept: Kept) -> tuple[pa.Array, np.ndarray, Kept]:
        """The keys and the (r, length - 2) texts of the rows complete with these blocks, and what is left over."""
        import pyarrow as pa

        width = self.task.length - 2
        block, files, owners = merged(group)
        ids, starts, which = stream(*self.tokens.encode(block), np.stack([owners, block.positions]), self.special.sep)
        every = np.concatenate([kept.ids, ids])
        if not len(ids):
            return _strings([]), every[:0].reshape(0, width), kept
        if kept.document == (files[which[0, 0]], which[1, 0]):
            starts[0] -= kept.tokens
        rows = (len(every) - 1) // width  # at least a token is left over: of the last one it is known to be a [SEP]
        at = np.arange(rows + 1) * width - len(kept.ids)
        keys = row_keys(files, which, starts, at[at >= 0])
        keys = pa.concat_arrays([_strings([kept.key] if at[0] < 0 else []), keys])
        document, tokens = (files[which[0, -1]], int(which[1, -1])), len(ids) - int(starts[-1])
        left = Kept(keys[rows].as_py(), every[rows * width :].copy(), document, tokens)
        return keys[:rows], every[: rows * width].reshape(rows, width), left

    def _rows(
        self, key: str, keys: pa.Array, texts: np.ndarray, count: int, chance: Chance, copies: int
    ) -> Iterator[Rows]:
        """The rows of these texts: batches, of which the first says that `count` documents are done with."""
        import pyarrow as pa

        schema = pa.schema([(column.name, column.arrow) for column in self.task.schema()])
        for copy in range(copies):
            rng = chance(key, copy)
            for i in range(0, max(1, len(texts)), ROWS):
                ids, attention = framed(texts[i : i + ROWS], self.task.length, self.special)
                about = [keys[i : i + ROWS], pa.array(np.full(len(ids), copy, np.int32))]
                batch = pa.RecordBatch.from_arrays([*about, *self._masked(ids, attention, rng)], schema=schema)
                yield Rows(batch, count if (copy, i) == (0, 0) else 0)

    def _masked(self, ids: np.ndarray, attention: np.ndarray, rng: np.random.Generator) -> list[pa.Array]:
        """(r, L) ids, (r, L) attention mask -> the task's columns."""
        choose = independent if self.task.bernoulli else budget
        chosen = choose(~self.special.table[ids], self.task.ratio, rng)
        labels = np.where(chosen, ids, np.int32(UNTOLD))
        shown = corrupted(ids, chosen, self.special, rng)
        read = spelling(self.tokens.tokenizer).read(ids, chosen, self.special) if self.task.as_text else []
        return [*map(_lists, (shown, labels, attention)), *read]


def gathered(samples: Iterable[Sample]) -> Iterator[list[Sample]]:
    """Blocks one by one, small ones by the dozen: most of what a block costs does not depend on its size."""
    group: list[Sample] = []
    size = 0
    for sample in samples:
        group.append(sample)
        size += len(sample.payload.data)
        if size >= ENOUGH:
            yield group
            group, size = [], 0
    if group:
        yield group


def merged(group: Sequence[Sample]) -> tuple[Block, list[str], np.ndarray]:
    """One block of several, the files its d documents come from, and (d,) which one each does."""
    blocks = [sample.payload for sample in group]
    files = list(dict.fromkeys(file_of(sample.key) for sample in group))
    number = {file: i for i, file in enumerate(files)}
    owners = np.repeat([number[file_of(sample.key)] for sample in group], [len(block.starts) for block in blocks])
    if len(blocks) == 1:
        return blocks[0], files, owners
    begin = np.cumsum([0] + [len(block.data) + 1 for block in blocks])
    data = np.concatenate([part for block in blocks for part in (block.data, np.frombuffer(b"\n", np.uint8))])
    starts = np.concatenate([block.starts + at for block, at in zip(blocks, begin[:-1], strict=True)])
    ends = np.concatenate([block.ends + at for block, at in zip(blocks, begin[:-1], strict=True)])
    return Block(data, starts, ends, np.concatenate([block.positions for block in blocks])), files, owners


def stream(ids: np.ndarray, offsets: np.ndarray, names: np.ndarray, sep: int) -> tuple[np.ndarray, ...]:
    """(t,) ids of d documents, (2, d) their names -> the ids with [SEP] after each, (k,) starts, (2, k) names of these.

    A name is a file and a position. Documents without a token leave no trace, pieces of one that was cut are one.
    """
    filled = np.flatnonzero(np.diff(offsets))
    starts, names = offsets[filled] + np.arange(len(filled)), names[:, filled]
    first = np.flatnonzero(np.diff(names, prepend=-1).any(0))
    return np.insert(ids, offsets[filled + 1], sep), starts[first], names[:, first]


def row_keys(files: list[str], names: np.ndarray, starts: np.ndarray, at: np.ndarray) -> pa.Array:
    """Name (r,) places in a stream by file, document and token: "a.txt#1024+7"."""
    import pyarrow as pa
    import pyarrow.compute as pc

    document = np.searchsorted(starts, at, "right") - 1
    owners, positions = names[:, document]
    numbers = [pa.array(n).cast(pa.string()) for n in (positions, at - starts[document])]
    places = pc.binary_join_element_wise(_strings(files).take(pa.array(owners)), numbers[0], "#")
    return pc.binary_join_element_wise(places, numbers[1], "+")


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


def _lists(rows: np.ndarray) -> pa.Array:
    import pyarrow as pa

    return pa.ListArray.from_arrays(np.arange(len(rows) + 1, dtype=np.int32) * rows.shape[1], rows.reshape(-1))


def _strings(texts: list[str]) -> pa.Array:
    import pyarrow as pa

    return pa.array(texts, pa.string())


# --- as a person reads it --------------------------------------------------------------------------------------------


class Spelling:
    """How tokens are written, and their blanks: the decoder joins "is", "##[MASK]" as it would "is", "##n"."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.decode = tokenizer.decoder.decode if tokenizer.decoder else " ".join
        pieces = [tokenizer.id_to_token(i) or "" for i in range(max(tokenizer.get_vocab().values()) + 1)]
        inner = getattr(tokenizer.model, "continuing_subword_prefix", None) or ""
        marks = [next((mark for mark in (inner, "Ġ", "▁") if mark and piece.startswith(mark)), "") for piece in pieces]
        self.pieces = np.array(pieces, object)
        self.blanks = np.array([mark + "[MASK]" for mark in marks], object)
        self.answers = np.array([self.decode([p.removeprefix(inner)]).strip() for p in pieces], object)

    def read(self, ids: np.ndarray, chosen: np.ndarray, special: Special) -> list[pa.Array]:
        """(r, L) ids, (r, L) bool -> the texts with their blanks, and the lists of what fills them."""
        import pyarrow as pa

        unwritten = [special.cls, special.sep, special.pad, special.mask]  # all [MASK]s are blanks, none the text's own
        written = ~np.isin(ids, unwritten)
        words = np.where(chosen, self.blanks[ids], self.pieces[ids])[written].tolist()
        document = np.cumsum(ids.reshape(-1) == special.sep)[written.reshape(-1)]  # a row ends with [SEP], too
        starts = np.flatnonzero(np.diff(document, prepend=-1))
        rows, texts = np.nonzero(written)[0][starts].tolist(), [""] * len(ids)
        for row, (start, end) in zip(rows, pairwise([*starts.tolist(), len(words)]), strict=True):
            texts[row] += "\n" * bool(texts[row]) + self.decode(words[start:end])
        offsets = np.append(0, chosen.sum(1).cumsum()).astype(np.int32)
        return [_strings(texts), pa.ListArray.from_arrays(offsets, _strings(self.answers[ids[chosen]].tolist()))]


spelling = lru_cache(maxsize=1)(Spelling)
