"""Trainers take the rows as they are: no collator of ours, and the model sees the very labels of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import FIXTURES

from pseudolabel import TASKS, run

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")


def train(model: Any, rows: Any, folder: Path, **options: Any) -> list[float]:
    """50 steps of a Hugging Face Trainer with its default collator: the losses."""
    chosen: dict[str, Any] = {
        **{"max_steps": 50, "per_device_train_batch_size": 16, "learning_rate": 3e-3, "logging_steps": 1, "seed": 1},
        **{
            "report_to": [],
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
        },
    }
    arguments = transformers.TrainingArguments(str(folder), **chosen, **options)
    trainer = transformers.Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def test_bert_learns_from_mask_text(tokenizer: Path, tmp_path: Path) -> None:
    import datasets
    from tokenizers import Tokenizer

    size = Tokenizer.from_file(str(tokenizer)).get_vocab_size()
    run(TASKS["mask-text"](tokenizer=str(tokenizer), length=64), FIXTURES / "text", out=tmp_path / "out")
    rows = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))["train"]
    seen: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = []

    class Watched(transformers.BertForMaskedLM):
        def forward(self, input_ids: Any, attention_mask: Any, labels: Any, **rest: Any) -> Any:
            seen.extend(
                tuple(tuple(r) for r in row)
                for row in zip(input_ids.tolist(), attention_mask.tolist(), labels.tolist(), strict=True)
            )
            return super().forward(input_ids=input_ids, attention_mask=attention_mask, labels=labels, **rest)

    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    losses = train(Watched(config), rows, tmp_path / "trainer")
    assert len(losses) == 50
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])
    stored = {(tuple(row["input_ids"]), tuple(row["attention_mask"]), tuple(row["labels"])) for row in rows}
    assert len(seen) == 50 * 16
    assert set(seen) <= stored
    for ids, attended, labels in seen:
        assert any(label != -100 for label in labels)
        assert all(label == -100 for label, a in zip(labels, attended, strict=True) if not a)
        assert len(ids) == 64
