"""What benchmarks/teach.py trains: one module a modality, with the rows, the usual loader, the network and the probe."""
