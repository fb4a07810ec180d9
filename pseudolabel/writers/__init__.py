"""What lies in the output folder: shards, records, manifest, card."""
