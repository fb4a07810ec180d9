"""Sound as arrays."""
