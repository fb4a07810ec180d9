"""Trainers take the rows as they are: no collator of ours, and the model sees the very labels of the rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from runs import FIXTURES

from pseudolabel import TASKS, run

pytestmark = pytest.mark.slow

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
torch.set_num_threads(1)  # models this small only wait for each other


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


def rows_of(task: Any, folder: Path) -> Any:
    import datasets

    run(task, FIXTURES / "text", out=folder / "out")
    return datasets.load_dataset(str(folder / "out"), cache_dir=str(folder / "cache"))["train"]


def watch(model: Any, *names: str) -> list[tuple[Any, ...]]:
    """What the model is called with from now on: these arguments, row by row."""
    seen: list[tuple[Any, ...]] = []

    def note(_: Any, __: Any, given: dict[str, Any]) -> None:
        seen.extend(zip(*(map(freeze, given[name].tolist()) for name in names), strict=True))

    model.register_forward_pre_hook(note, with_kwargs=True)
    return seen


def freeze(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def check(losses: list[float], seen: list[tuple[Any, ...]], rows: Any, *names: str) -> None:
    """Fifty losses that fall, of rows as they are stored and nothing else."""
    assert len(losses) == 50
    assert min(losses) > 0
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    stored = {tuple(freeze(row[name]) for name in names) for row in rows}
    assert len(seen) == 50 * 16
    assert set(seen) <= stored


def bert(size: int, length: int) -> Any:
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    return transformers.BertConfig(vocab_size=size, max_position_embeddings=length, **sizes)


def size_of(folder: Path) -> int:
    from tokenizers import Tokenizer

    return int(Tokenizer.from_file(str(folder / "out" / "tokenizer.json")).get_vocab_size())


def test_vit_mae_uses_the_mask_of_the_row(tmp_path: Path) -> None:
    """The model hides what the row says, and learns: 50 steps of a tiny ViTMAE, masks read back from inside it."""
    import datasets
    import numpy as np

    out = tmp_path / "out"
    run(TASKS["mask-patches"](height=64, width=64, patch=8), FIXTURES / "images", out=out, copies=4)
    rows = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"].with_format("numpy")
    pictures = torch.from_numpy(np.stack(rows["image"][:]).transpose(0, 3, 1, 2)).float() / 127.5 - 1
    masks = torch.from_numpy(np.stack(rows["mask"][:]))
    assert masks.dtype == torch.bool
    assert masks.shape == (96, 64)
    sizes = {"hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 128}
    decoder = {f"decoder_{name}": size for name, size in sizes.items()}
    torch.manual_seed(0)
    config = transformers.ViTMAEConfig(image_size=64, patch_size=8, mask_ratio=0.75, **sizes, **decoder)
    model = transformers.ViTMAEForPreTraining(config)
    optimizer, losses = torch.optim.AdamW(model.parameters(), 3e-3), []
    for step in range(50):
        batch = [(step * 16 + i) % len(masks) for i in range(16)]
        made = model(pictures[batch], noise=masks[batch].float())
        assert torch.equal(made.mask.bool(), masks[batch]), "1 is hidden, in the model as in the row"
        losses.append(made.loss.item())
        made.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6]), "of all 96 rows, at the end and at the beginning"


def test_video_mae_hides_the_cubes_of_the_row(tmp_path: Path) -> None:
    """50 steps of a tiny VideoMAE: its encoder is shown the cubes that the row does not hide, in their places."""
    import datasets
    import numpy as np

    out = tmp_path / "out"
    run(TASKS["mask-tubes"](size=64, resize=64, frames=8), FIXTURES / "video", out=out, copies=4)
    rows = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))["train"].with_format("numpy")
    clips = torch.from_numpy(np.stack(rows["clip"][:]).transpose(0, 1, 4, 2, 3)).float() / 127.5 - 1
    masks = torch.from_numpy(np.stack(rows["bool_masked_pos"][:]))
    assert masks.dtype == torch.bool
    assert masks.shape == (len(clips), 4 * 4 * 4)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    decoder = {f"decoder_{name}": size for name, size in sizes.items()}
    torch.manual_seed(0)
    config = transformers.VideoMAEConfig(image_size=64, patch_size=16, num_frames=8, tubelet_size=2, **sizes, **decoder)
    model = transformers.VideoMAEForPreTraining(config)
    shown: list[Any] = []
    model.videomae.encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0].detach()))
    optimizer, losses = torch.optim.AdamW(model.parameters(), 3e-3), []
    for step in range(50):
        batch = [(step * 8 + i) % len(masks) for i in range(8)]
        with torch.no_grad():
            every = model.videomae.embeddings(clips[batch], torch.zeros_like(masks[batch]))
        loss = model(clips[batch], bool_masked_pos=masks[batch]).loss
        assert torch.allclose(shown[-1], every[~masks[batch]].reshape(8, -1, 32))
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


def test_hubert_learns_by_the_recipe_of_the_docs(tmp_path: Path) -> None:
    """The code of docs/how-to/hubert.md but for a tiny model: it hides the row's frames, no others, and learns."""
    import re

    out = tmp_path / "speech-masked"
    run(TASKS["mask-audio"](clusters=8, seconds=1.0, min_seconds=0.9), FIXTURES / "audio", out=out, copies=20, limit=20)
    (code,) = re.findall(
        r"```python\n(.*?)```", (FIXTURES.parent / "docs" / "how-to" / "hubert.md").read_text("utf-8"), re.DOTALL
    )
    sizes = "hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64, conv_dim=(16,) * 7"
    small = f"{sizes}, num_conv_pos_embeddings=16, hidden_dropout=0.0, layerdrop=0.0"
    code = code.replace("HubertConfig()  #", f"HubertConfig({small})  #")
    code = code.replace("speech-masked", str(out)).replace("lr=5e-4", "lr=1e-3")
    code = code.replace("model.train()", "model.train()\nwatch(model)")
    said: list[str] = []
    seen: list[tuple[int, int]] = []

    def watch(model: Any) -> None:
        """Count the frames that are hidden where the transformer takes them, and those of the rows."""

        def note(_: Any, given: tuple[Any, ...]) -> None:
            hidden = (given[0] == model.masked_spec_embed).all(-1)
            assert torch.equal(hidden, model.asked)
            seen.append((int(hidden.sum()), int(model.asked.sum())))

        model.register_forward_pre_hook(
            lambda m, _, given: setattr(m, "asked", given["mask_time_indices"]), with_kwargs=True
        )
        model.encoder.register_forward_pre_hook(note)

    torch.manual_seed(0)
    exec(compile(code, "docs/how-to/hubert.md", "exec"), {"print": said.append, "watch": watch})
    losses = list(map(float, said))
    assert len(losses) == len(seen) >= 45
    assert all(hidden == asked > 0 for hidden, asked in seen)
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_bert_learns_from_mask_text(tokenizer: Path, tmp_path: Path) -> None:
    rows = rows_of(TASKS["mask-text"](tokenizer=str(tokenizer), length=64), tmp_path)
    names = ("input_ids", "attention_mask", "labels")
    torch.manual_seed(0)
    model = transformers.BertForMaskedLM(bert(size_of(tmp_path), 64))
    seen = watch(model, *names)
    check(train(model, rows, tmp_path / "trainer"), seen, rows, *names)
    for ids, attended, labels in seen:
        assert any(label != -100 for label in labels)
        assert all(label == -100 for label, a in zip(labels, attended, strict=True) if not a)
        assert len(ids) == 64


def test_t5_learns_from_corrupt_spans(tokenizer: Path, tmp_path: Path) -> None:
    rows = rows_of(TASKS["corrupt-spans"](tokenizer=str(tokenizer), length=64), tmp_path)
    names = ("input_ids", "attention_mask", "labels")
    torch.manual_seed(0)
    sizes = {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2, "dropout_rate": 0.0}
    config = transformers.T5Config(
        vocab_size=size_of(tmp_path), pad_token_id=0, eos_token_id=3, decoder_start_token_id=0, **sizes
    )
    model = transformers.T5ForConditionalGeneration(config)
    seen = watch(model, *names)
    check(train(model, rows, tmp_path / "trainer"), seen, rows, *names)


def test_bert_learns_from_order_sentences(tokenizer: Path, tmp_path: Path) -> None:
    task = TASKS["order-sentences"](tokenizer=str(tokenizer), length=64, negatives="random", mask=True)
    rows = rows_of(task, tmp_path)
    names = ("input_ids", "token_type_ids", "attention_mask", "labels", "next_sentence_label")
    torch.manual_seed(0)
    model = transformers.BertForPreTraining(bert(size_of(tmp_path), 64))
    seen = watch(model, *names)
    check(train(model, rows, tmp_path / "trainer"), seen, rows, *names)
    assert {next_sentence for *_, next_sentence in seen} == {0, 1}
