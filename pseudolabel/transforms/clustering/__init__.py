"""Features, clusters and codebooks."""
