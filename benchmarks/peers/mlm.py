"""Masked rows of tokens as Hugging Face's run_mlm makes them: `datasets.map` and DataCollatorForLanguageModeling.

Lines are tokenized in batches, each framed by [CLS] and [SEP], joined and cut into rows of 128 tokens, masked by the
collator, and stored in one Parquet file. Unlike the task it frames lines, not rows, and leaves out what is over at the
end of each batch.

usage: mlm.py SOURCE OUT WORKERS TOKENIZER
"""

import itertools
import os
import sys
from pathlib import Path

LENGTH = 128


def join_and_cut(batch: dict[str, list[list[int]]]) -> dict[str, list[list[int]]]:
    """Rows of LENGTH tokens; the rest of the batch is left out, as in run_mlm."""
    joined = {name: list(itertools.chain(*values)) for name, values in batch.items()}
    end = len(joined["input_ids"]) // LENGTH * LENGTH
    return {name: [values[i : i + LENGTH] for i in range(0, end, LENGTH)] for name, values in joined.items()}


def main() -> None:
    source, out, workers, vocabulary = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    out.mkdir(parents=True)
    os.environ |= {"HF_DATASETS_OFFLINE": "1", "HF_DATASETS_CACHE": str(out / "cache")}  # read when they are imported
    import datasets
    from transformers import DataCollatorForLanguageModeling, PreTrainedTokenizerFast

    names = {f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")}
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=vocabulary, **names)
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.15, return_tensors="np")

    def tokenize(batch: dict) -> dict:
        return tokenizer(batch["text"], return_special_tokens_mask=True)

    def mask(batch: dict) -> dict:
        rows = [{name: batch[name][i] for name in batch} for i in range(len(batch["input_ids"]))]
        masked = collator(rows)
        return {"input_ids": masked["input_ids"], "labels": masked["labels"]}

    datasets.disable_progress_bars()
    files = sorted(str(path) for path in source.rglob("*.txt"))
    rows = datasets.load_dataset("text", data_files={"train": files}, split="train")
    processes = {"batched": True, "num_proc": workers}
    rows = rows.map(tokenize, remove_columns=["text"], **processes)
    rows = rows.map(join_and_cut, **processes)
    rows = rows.map(mask, remove_columns=rows.column_names, **processes)
    rows.to_parquet(str(out / "train.parquet"))


if __name__ == "__main__":
    main()
