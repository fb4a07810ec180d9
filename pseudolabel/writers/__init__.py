"""Writers of the output folder: shards, records, manifest, dataset card and exports."""
