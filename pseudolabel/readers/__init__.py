"""Readers of samples, one folder per modality. `sources` finds and opens files; `metadata` reads columns, sidecars."""
