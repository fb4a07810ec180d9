"""Names of the files and folders in an output folder."""

from __future__ import annotations

LOCK = "_records/lock"
SUCCESS, SKIPPED, CARD, RECORDS, WORK = "_SUCCESS", "_skipped.jsonl", "README.md", "_records", "_work"
PREVIEW, AUDIT = "index.html", "audit.json"
REPORTS = (CARD, PREVIEW, AUDIT)  # about the dataset; no part of it
DATA = "data"
ARTEFACTS, CRASHES, TRACE = "artefacts.json", "crashes{}.json", "error.txt"
PLAN, SOURCE_COLUMNS, LEDGER = "plan.jsonl", "kept.json", "made.jsonl"  # planned shards; kept columns; made shards
MANIFEST = "_manifest.json"  # marks a folder as a dataset of this package, which is never read as a source
