"""Masked words: a small BERT on the questions of bank customers; the probe names their intent."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from torch.nn import functional as F

from pseudolabel import MaskText
from teaching.experiment import LOADER, SHUFFLED, Batch, Budget, Case, Family, Probe, Setup, epochs
from teaching.patches import blocks
from teaching.pictures import COPIES, HEADLINE, copies_of
from teaching.places import Places, hash_order

UNLABELLED, FIT, TEST = 4000, 4000, 3080  # questions
LENGTH, VOCABULARY, WIDTH = 32, 1500, 64
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
PAD, IGNORED = 0, -100


class Reader(nn.Module):
    """A transformer of two layers; its embeddings are the weights of its head as well."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(VOCABULARY, WIDTH)
        self.places = nn.Parameter(0.02 * torch.randn(LENGTH, WIDTH))
        self.transformer = blocks(WIDTH, 2)
        self.bias = nn.Parameter(torch.zeros(VOCABULARY))
        nn.init.normal_(self.embed.weight, std=0.1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """(n, LENGTH) -> (n, LENGTH, WIDTH)"""
        return self.transformer(self.embed(ids) + self.places, src_key_padding_mask=ids == PAD)

    def features(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the mean of the tokens that are no padding."""
        real = (ids != PAD)[..., None]
        return (self(ids) * real).sum(1) / real.sum(1)


def token_loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Cross entropy of the tokens that are asked for."""
    ids, labels = batch
    asked = labels != IGNORED
    made = F.linear(model(ids)[asked], model.embed.weight, model.bias)  # type: ignore[union-attr,arg-type]
    return F.cross_entropy(made, labels[asked])


# --- data ------------------------------------------------------------------------------------------------------------


def questions(places: Places, name: str) -> tuple[list[str], list[str]]:
    """Return the questions of a file, and their intents, in an order drawn by their text."""
    with (places.real("text/banking77") / name).open(encoding="utf-8", newline="") as file:
        found = [(" ".join(row["text"].split()), row["category"]) for row in csv.DictReader(file)]
    found = [found[i] for i in hash_order([text for text, _ in found])]
    return [text for text, _ in found], [intent for _, intent in found]


def source_of(places: Places) -> Path:
    """Return the folder of the questions for pretraining, a line each, with a tokenizer that was learned from them."""

    def write(folder: Path) -> None:
        (folder / "text").mkdir()
        path = folder / "text" / "questions.txt"
        path.write_text("\n".join(questions(places, "train.csv")[0][:UNLABELLED]) + "\n", "utf-8")
        tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=list(SPECIAL), show_progress=False)
        tokenizer.train([str(path)], trainer)
        ends = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
        tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1", ends)
        tokenizer.save(str(folder / "tokenizer.json"))

    return places.folder("sources/questions", write)


def probe_of(places: Places) -> Probe:
    """Return other questions of the training file, and those of the test file."""
    tokenizer = Tokenizer.from_file(str(source_of(places) / "tokenizer.json"))
    tokenizer.enable_truncation(LENGTH)
    tokenizer.enable_padding(length=LENGTH, pad_id=PAD)

    def ids(texts: list[str]) -> torch.Tensor:
        return torch.tensor([encoded.ids for encoded in tokenizer.encode_batch(texts)])

    texts, intents = questions(places, "train.csv")
    test, answers = questions(places, "test.csv")
    chosen = slice(UNLABELLED, UNLABELLED + FIT)
    return Probe(ids(texts[chosen]), np.array(intents[chosen]), ids(test[:TEST]), np.array(answers[:TEST]))


def rows_of(places: Places) -> dict[str, np.ndarray]:
    def make() -> dict[str, np.ndarray]:
        source = source_of(places)
        task = MaskText(tokenizer=str(source / "tokenizer.json"), length=LENGTH, document="line")
        table = places.rows("mask-text", task, source / "text", max(COPIES))
        columns = {name: np.stack(table[name].to_numpy()).astype(np.int64) for name in ("input_ids", "labels")}
        return {"copy": table["copy"].to_numpy(), **columns}

    return places.arrays("mask-text", make)


# --- the family ------------------------------------------------------------------------------------------------------


def stored_batches(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    """Yield stored rows; where labels are shuffled, a token that is asked for is one that was asked for elsewhere."""
    rng, rows = np.random.default_rng(case.seed), rows_of(places)
    kept = rows["copy"] < copies_of(case)
    ids, labels = rows["input_ids"][kept], rows["labels"][kept]
    if case.arm == SHUFFLED:
        labels[labels != IGNORED] = rng.permutation(labels[labels != IGNORED])
    for chosen in epochs(rows["copy"][kept], batch, rng):
        yield torch.from_numpy(ids[chosen]), torch.from_numpy(labels[chosen])


def loader_batches(places: Places, case: Case, batch: int) -> Iterator[Batch]:
    """Yield rows as Hugging Face's run_mlm makes them: lines joined and cut, masked anew by its collator."""
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(source_of(places) / "tokenizer.json"), **names)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)  # a seed of its own works in no worker
    lines = (source_of(places) / "text" / "questions.txt").read_text("utf-8").splitlines()
    joined = [token for ids in tokenizer(lines)["input_ids"] for token in ids]
    rows = [joined[start : start + LENGTH] for start in range(0, len(joined) - LENGTH + 1, LENGTH)]
    for chosen in epochs(np.zeros(len(rows), int), batch, np.random.default_rng(case.seed)):
        made = collator([{"input_ids": rows[i]} for i in chosen])
        yield made["input_ids"], made["labels"]


def prepare(places: Places, folds: int) -> dict[str, float]:
    rows_of(places)
    return {"megabytes_per_copy": places.megabytes_per_copy("mask-text", max(COPIES)), "copies": HEADLINE}


def setup(places: Places, case: Case, batch: int) -> Setup:
    make = loader_batches if case.arm == LOADER else stored_batches
    return Setup(Reader(), token_loss, make(places, case, batch), probe_of(places))


FAMILIES = (
    Family(
        "mask-text",
        "4,000 questions of bank customers",
        "77 intents of other questions",
        f"--document line --length {LENGTH} --tokenizer TOKENIZER --copies {max(COPIES)}",
        Budget(400, 32, 3e-3),
        prepare,
        setup,
        ("1 copy", "2 copies", "10 copies"),
    ),
)
