"""Clips as arrays."""
