"""Audit: can the labels of a dataset be guessed from facts that need no understanding?"""
