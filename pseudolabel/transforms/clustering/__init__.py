"""Feature sets, clusters and codebooks."""
