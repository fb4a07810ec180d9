"""Readers: one module per modality, from the files of a source to samples."""
