"""Pools of workers, on this machine or a Ray cluster, and the search for samples that crash a worker."""
