"""Text as arrays of tokens."""
