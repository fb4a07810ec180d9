"""The engine: plans a source, makes its shards by pools of workers, finishes the dataset."""
