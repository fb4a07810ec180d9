"""Readers: bytes of a source in, samples out. One folder for each modality; `sources` finds and opens files."""
