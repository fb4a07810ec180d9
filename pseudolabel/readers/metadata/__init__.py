"""Metadata beside media: sidecars and WebDataset."""
