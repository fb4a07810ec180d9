"""Inspection: verify, preview and describe a finished dataset; show rows of a source."""
