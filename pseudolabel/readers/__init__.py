"""Readers: turn the bytes of a source into samples. One folder per modality; `sources` finds and opens files."""
