"""Disks and object stores: paths and URLs, retries, locks, byte ranges, commits."""
