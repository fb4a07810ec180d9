"""The dataset card: what the dataset is, for people and for `datasets.load_dataset`."""

from __future__ import annotations

from inspect import cleandoc
from pathlib import Path
from typing import Any

from pseudolabel.shards import write_whole
from pseudolabel.tasks.base import Task

SOUND = [
    "# datasets decodes sound with torchcodec; without it, soundfile does:",
    'rows = rows.cast_column("audio", datasets.Audio(decode=False))',
    'wave, rate = soundfile.read(io.BytesIO(rows["train"][0]["audio"]["bytes"]))',
]


def write_card(path: Path, task: Task, manifest: dict[str, Any]) -> None:
    """Write `README.md`: the YAML header that names the files, then columns, label, making and counts."""
    summary = manifest["summary"]
    head = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in summary["rows"]:
        head += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    head += ["tags:", "- pseudolabel", "- self-supervised", f"- {task.name}", "---", ""]
    write_whole(path, (f"{line}\n" for line in [*head, *_body(task, manifest)]))


def _body(task: Task, manifest: dict[str, Any]) -> list[str]:
    summary = manifest["summary"]
    about = cleandoc(task.__doc__ or "")
    options = " ".join(f"`{name}={value}`" for name, value in manifest["options"].items())
    names = ("seed", "copies", "limit", "validation", "shard_size", "in_order")
    chosen = " ".join(f"`{name}={manifest[name]}`" for name in names)
    rows = ", ".join(f"{count:,} {split}" for split, count in summary["rows"].items())
    counts = " · ".join(f"{summary[name]:,} {name}" for name in ("seen", "used", "skipped", "filtered"))
    counts += f" · {summary['lacking']:,} rows lacking" if summary["lacking"] else ""
    unsafe = f"\nLater augmentations that make the label false: {', '.join(task.unsafe)}.\n" if task.unsafe else ""
    sound = any(column.type.startswith("audio<") for column in task.schema())
    return [
        f"# {Path(summary['out']).name}",
        "",
        about,
        "",
        f"Method: {task.paper}",
        *(f"\n{remark[:1].upper()}{remark[1:]}." for remark in manifest["remarks"]),
        unsafe,
        "| column | type | role | meaning |",
        "| --- | --- | --- | --- |",
        *(f"| `{c.name}` | {c.type} | {c.role} | {c.meaning} |" for c in task.schema()),
        "",
        f"Made by `pseudolabel {task.name}` with {options} and {chosen}.",
        "",
        f"Rows: {rows}. Samples: {counts}; what was left out or is lacking, and why, is in `_skipped.jsonl`.",
        "",
        "```python",
        *(["import io", ""] if sound else []),
        "import datasets",
        *(["import soundfile"] if sound else []),
        "",
        f'rows = datasets.load_dataset("{Path(summary["out"]).name}")',
        *(SOUND if sound else []),
        "```",
    ]
