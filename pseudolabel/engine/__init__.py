"""Engine: plan a source, make its shards in a pool of workers, and finish the dataset."""
