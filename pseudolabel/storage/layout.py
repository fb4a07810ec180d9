"""The names of what lies in an output folder."""

from __future__ import annotations

LOCK = "_records/lock"
SUCCESS, SKIPPED, CARD, RECORDS, WORK = "_SUCCESS", "_skipped.jsonl", "README.md", "_records", "_work"
PREVIEW = "index.html"
DATA = "data"
ARTEFACTS, CRASHES, TRACE = "artefacts.json", "deaths.json", "error.txt"
PLAN, SOURCE_COLUMNS, LEDGER = "plan.jsonl", "kept.json", "made.jsonl"  # what parts are to make; what was made
MANIFEST = "_manifest.json"  # a folder that holds one is a dataset of ours and never read as a source
