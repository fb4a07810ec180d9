"""Shared parts of the tasks: base classes for each modality, and the table of modalities that `cluster` reads."""
