"""What benchmarks/teach.py trains: rows, usual loaders, networks and probes by modality."""
