"""Pure functions on arrays, one folder for each modality; clustering."""
