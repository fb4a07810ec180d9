"""What tasks are made of: the base class, and one for each modality."""
