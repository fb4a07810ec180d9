"""Masked and noisy texts: transformers' collators, and sentence-transformers' two ways to delete words."""

from __future__ import annotations

import ast
import inspect
import random
import textwrap
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

import numpy as np

from loaders.prepare import prepare
from loaders.sources import WORK, files_of, tokenizer_of

Row = dict[str, Any]
LENGTH, BATCH = 128, 8
MAX_ROWS = 1500
PUNKT = ("collocations.tab", "sent_starters.txt", "abbrev_types.txt", "ortho_context.tab")


def transformers_mlm(source: str) -> Iterator[Row]:
    """Rows of run_mlm: lines framed, joined, cut; `DataCollatorForLanguageModeling` masks 15 %."""
    yield from collated(source, whole_word_mask=False)


def transformers_words(source: str) -> Iterator[Row]:
    """The same with `whole_word_mask=True`."""
    yield from collated(source, whole_word_mask=True)


def collated(source: str, whole_word_mask: bool) -> Iterator[Row]:
    prepare()
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_of(source)), **names)
    collator = DataCollatorForLanguageModeling(tokenizer, whole_word_mask=whole_word_mask)
    for keys, batch in batched(islice(joined(source, tokenizer, whole_word_mask), MAX_ROWS)):
        masked = collator(batch)
        for i, key in enumerate(keys):
            yield {"key": key, **{name: masked[name][i].tolist() for name in ("input_ids", "attention_mask", "labels")}}


def joined(source: str, tokenizer: Any, offsets: bool) -> Iterator[tuple[str, dict[str, list[Any]]]]:
    """Yield the rows of each document: its lines tokenized, joined, and cut at LENGTH, as in run_mlm."""
    for path in files_of(source):
        lines = path.read_text("utf-8").splitlines()
        found = tokenizer(lines, return_special_tokens_mask=True, return_offsets_mapping=offsets)
        found.pop("token_type_ids", None)
        whole = {name: list(chain(*values)) for name, values in found.items()}
        for start in range(0, len(whole["input_ids"]) // LENGTH * LENGTH, LENGTH):
            yield path.name, {name: values[start : start + LENGTH] for name, values in whole.items()}


def batched(rows: Iterator[tuple[str, Any]]) -> Iterator[tuple[list[str], list[Any]]]:
    while some := list(islice(rows, BATCH)):
        yield [key for key, _ in some], [row for _, row in some]


# --- deleted words ---------------------------------------------------------------------------------------------------


def sentence_transformers_dataset(source: str) -> Iterator[Row]:
    """`DenoisingAutoEncoderDataset` with its default noise."""
    prepare()
    from sentence_transformers.sentence_transformer.datasets import DenoisingAutoEncoderDataset

    yield from noisy_rows(source, lambda some: [one.texts[0] for one in DenoisingAutoEncoderDataset(some)])


def sentence_transformers_example(source: str) -> Iterator[Row]:
    """`noise_transform` of the example in the docstring of `DenoisingAutoEncoderLoss`, as it stands there."""
    prepare()
    noise = example_noise()
    yield from noisy_rows(source, lambda some: noise({"text": some})["noisy"])


def noisy_rows(source: str, noise: Callable[[list[str]], Sequence[str]]) -> Iterator[Row]:
    """Yield sentences, and which words the noise left out. The words of a sentence must differ from each other."""
    prepare_nltk()
    for path in files_of(source):
        sentences = path.read_text("utf-8").splitlines()
        for number, (whole, noisy) in enumerate(zip(sentences, noise(sentences), strict=True)):
            left = set(noisy.split())
            deleted = [word not in left for word in whole.split()]
            yield {"key": f"{path.name}#{number}", "noisy": noisy, "deleted": deleted}


def prepare_nltk() -> None:
    """Give NLTK's sentence splitter an empty model: `word_tokenize` asks for one, and random words have no full stops.

    NLTK downloads its model, which no package has.
    """
    import nltk

    folder = WORK / "nltk" / "tokenizers" / "punkt_tab" / "english"
    folder.mkdir(parents=True, exist_ok=True)
    for name in PUNKT:
        (folder / name).touch()
    nltk.data.path.insert(0, str(WORK / "nltk"))


def example_noise() -> Callable[[dict[str, list[str]]], dict[str, Sequence[str]]]:
    """Return the function `noise_transform` of the docstring, run with the example's own imports."""
    from nltk import word_tokenize
    from nltk.tokenize.treebank import TreebankWordDetokenizer
    from sentence_transformers.sentence_transformer.losses import DenoisingAutoEncoderLoss

    text = inspect.getsource(DenoisingAutoEncoderLoss)
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.strip().startswith("def noise_transform("))
    indent = len(lines[start]) - len(lines[start].lstrip())
    end = next(
        i for i in range(start + 1, len(lines)) if lines[i].strip() and len(lines[i]) - len(lines[i].lstrip()) <= indent
    )
    code = textwrap.dedent("\n".join(lines[start:end]))
    names = {"random": random, "word_tokenize": word_tokenize, "TreebankWordDetokenizer": TreebankWordDetokenizer}
    exec(compile(ast.parse(code), "DenoisingAutoEncoderLoss", "exec"), names)
    return names["noise_transform"]


def deleted_share(source: str, rows: Callable[[str], Iterator[Row]]) -> dict[str, float]:
    """Measure the share of words that were left out."""
    found = [row["deleted"] for row in rows(source)]
    return {"words": sum(map(len, found)), "deleted share": float(np.mean(list(chain(*found))))}
