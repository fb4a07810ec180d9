"""What is asked of a finished dataset: verify, preview, describe, show."""
