"""Writers of the output folder: shards, records, manifest, dataset card, and the files for HuBERT."""
