"""Dataset card: the meaning of a row, how its label was made, what makes the label false, and how to load the rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from html import escape
from inspect import cleandoc
from pathlib import Path
from shlex import quote
from typing import Any

from pseudolabel.contracts import escape_controls, shorten
from pseudolabel.storage.files import write_atomic
from pseudolabel.storage.layout import DATA
from pseudolabel.storage.stores import parquet_source
from pseudolabel.tasks.base.task import Task, row_columns
from pseudolabel.writers.dataset import command_line
from pseudolabel.writers.source_columns import columns_of_manifest

SIZES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B", "10B", "100B", "1T")  # from 10^3 rows on
SOUND_LINES = [
    "# datasets decodes audio with torchcodec; without torchcodec, decode with soundfile:",
    'rows = rows.cast_column("audio", datasets.Audio(decode=False))',
    'wave, rate = soundfile.read(io.BytesIO(rows["train"][0]["audio"]["bytes"]))',
]


def write_card(path: Path, task: Task, manifest: Mapping[str, Any]) -> None:
    """Write `README.md`: a YAML header for the Hugging Face Hub and `datasets`, then Markdown for readers."""
    lines = ["---", *_header(task, manifest), "---", "", *_body(task, manifest, path.parent)]
    write_atomic(path, (f"{line}\n" for line in lines))


def _header(task: Task, manifest: Mapping[str, Any]) -> Iterator[str]:
    rows = manifest["summary"]["rows"]
    yield f"pretty_name: {json.dumps(_name(manifest))}"  # a JSON string is a valid YAML string
    yield from ("configs:", "- config_name: default", f"  description: {digest(manifest['shards'])}", "  data_files:")
    for split in rows:
        yield from (f"  - split: {split}", f"    path: {DATA}/{split}-*.parquet")
    yield from ("tags:", "- pseudolabel", "- self-supervised", f"- {task.name}", "size_categories:")
    yield f"- {size_category(sum(rows.values()))}"


def digest(shards: Sequence[Mapping[str, Any]]) -> str:
    """Return a digest of the data files. `datasets` caches rows by the name of the folder and by this header: without
    the digest, it would load the rows of another or an earlier dataset whose folder has the same name."""
    return sha256(json.dumps([[file["name"], file["sha256"]] for file in shards]).encode()).hexdigest()


def size_category(rows: int) -> str:
    """Return the Hub's name of a number of rows, such as `1K<n<10K`."""
    place = sum(rows >= 10**power for power in range(3, 3 + len(SIZES)))
    return "<".join((*SIZES[place - 1 : place], "n", *SIZES[place : place + 1])) if place < len(SIZES) else "n>1T"


def _name(manifest: Mapping[str, Any]) -> str:
    return escape_controls(Path(manifest["summary"]["out"]).name)


def _body(task: Task, manifest: Mapping[str, Any], out: Path) -> Iterator[str]:
    summary, name = manifest["summary"], _name(manifest)
    what, _, how = cleandoc(task.__doc__ or "").partition("\n\n")
    rows = ", ".join(f"{count:,} {split}" for split, count in summary["rows"].items())
    counts = " · ".join(f"{summary[name]:,} {name}" for name in ("seen", "used", "skipped", "filtered"))
    counts += f" · {summary['missing_rows']:,} rows missing" if summary["missing_rows"] else ""
    yield from (f"# {escape(name)}", "", what, "")
    yield from ("| column | type | role | meaning |", "| --- | --- | --- | --- |")
    yield from (
        table_row(f"`{c.name}`", f"`{c.type}`", c.role, c.meaning) for c in columns_of_manifest(manifest).schema(task)
    )
    yield from ("", "One row:", "", "```", *_example(task, manifest, out), "```", "")
    yield from ("## How the label was made", "", *([how, ""] if how else []), f"Method: {task.description.paper}", "")
    yield from ("```sh", command_line(type(task), {**manifest["fields"], **manifest}), "```", "")
    yield f"Rows: {rows}. Samples: {counts}; `_skipped.jsonl` gives the reason for each missing sample or row."
    yield from (f"\n{remark[:1].upper()}{remark[1:]}." for remark in manifest["remarks"])
    yield from ("", "## What makes the label false", "")
    invalidating = ", ".join(task.description.invalidating_augmentations)
    yield f"Augmentations applied after loading: {invalidating or 'none, if they change only the input'}."
    yield f"`pseudolabel verify {quote(name)} --against SOURCE` checks the label of every row against its source."
    yield from ("", "## How to load it", "", "In `datasets` and PyTorch:", "")
    yield from ("```python", *_python(task, name, manifest["copies"]), "```", "")
    yield from ("In DuckDB:", "", "```sql", _query(task, name), "```")


def table_row(*cells: str) -> str:
    """Return a row of a Markdown table, with each "|" of a cell escaped."""
    return "| {} |".format(" | ".join(cell.replace("|", "\\|") for cell in cells))


def _example(task: Task, manifest: Mapping[str, Any], out: Path) -> Iterator[str]:
    """Yield the first row of the first shard, one line for each column."""
    import pyarrow.parquet as pq

    columns = columns_of_manifest(manifest).schema(task)
    with pq.ParquetFile(parquet_source(out / DATA / manifest["shards"][0]["name"])) as file:
        row = next(file.iter_batches(1)).to_pylist()[0]
    for column in columns:
        value = column.names[row[column.name]] if column.type == "class" else shorten(row[column.name])
        yield f"{column.name}: {escape_controls(value).replace('`', '｀')}"  # a backtick would end the code block


def _python(task: Task, name: str, copies: int) -> Sequence[str]:
    """Return the lines that load a dataset. Rows of a sample lie together, so the rows of one copy are shuffled."""
    sound = any(column.type.startswith("audio<") for column in row_columns(task))
    wanted = [c.name for c in row_columns(task) if c.role in ("input", "label")]
    chosen = ONE_COPY if copies > 1 else 'rows["train"]'
    return [
        *(["import io", ""] if sound else []),
        "import datasets",
        *(["import soundfile"] if sound else []),
        "from torch.utils.data import DataLoader",
        "",
        f"rows = datasets.load_dataset({json.dumps(name, ensure_ascii=False)})",
        *(SOUND_LINES if sound else []),
        f"train = {chosen}",
        f"train = train.select_columns({json.dumps(wanted)})",
        f"loader = DataLoader(train{LOADER_ARGUMENTS[task.equal_shapes]})",
    ]


ONE_COPY = 'rows["train"].filter(lambda copy: copy == 0, input_columns="copy")  # the next epoch takes copy 1'
LOADER_ARGUMENTS = {
    True: '.with_format("torch"), batch_size=8, shuffle=True',
    False: ", batch_size=8, shuffle=True, collate_fn=list",
}


def _query(task: Task, name: str) -> str:
    """Return a DuckDB query for 10 rows: keys, copies, and the first label or input column."""
    first = next(c.name for c in task.columns() if c.role in ("label", "input"))
    place = f"{name}/{DATA}/*.parquet".replace("'", "''")
    return f"SELECT key, copy, {first} FROM '{place}' LIMIT 10;"
