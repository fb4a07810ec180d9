"""Datasets written as the files of a trainer."""
