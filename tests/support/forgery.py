"""A shard written again, and signed as a forger would."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pseudolabel.inspection.verify import Verification
from pseudolabel.writers.shards import ShardWriter


def named(found: Verification) -> dict[str, str]:
    """Where -> the reasons."""
    where: dict[str, str] = {}
    for fault in found.faults:
        where[fault["where"]] = where.get(fault["where"], "") + fault["reason"]
    return where


def shard(out: Path) -> Path:
    return out / "data" / "train-00000.parquet"


def write(out: Path, rows: list[dict[str, Any]]) -> None:
    """The shard again, with these rows."""
    schema = pq.read_schema(shard(out))
    with ShardWriter(shard(out), schema) as file:
        file.write(rows)


def sign(out: Path) -> None:
    """Have the record and the manifest say what the file is now, as a forger would."""
    for path in (out / "_records" / "00000.json", out / "_manifest.json"):
        signed = json.loads(path.read_text())
        for file in signed["files"] if "files" in signed else signed["shards"]:
            if file["name"] == shard(out).name:
                data = shard(out).read_bytes()
                file["sha256"], file["bytes"] = hashlib.sha256(data).hexdigest(), len(data)
                file["rows"] = pq.read_metadata(shard(out)).num_rows
        if "summary" in signed:
            signed["summary"]["rows"]["train"] = pq.read_metadata(shard(out)).num_rows
            signed["summary"]["bytes"] = sum(file["bytes"] for file in signed["shards"])
        path.write_text(json.dumps(signed))
