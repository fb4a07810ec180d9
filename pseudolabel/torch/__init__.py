"""Rows of an open dataset for a PyTorch DataLoader, rendered and not stored. Needs `pip install pseudolabel[torch]`."""

from pseudolabel.torch.rows import Rows

__all__ = ["Rows"]
