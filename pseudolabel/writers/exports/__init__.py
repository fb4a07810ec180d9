"""Exports of datasets in the file formats of trainers."""
