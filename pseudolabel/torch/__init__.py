"""Rows of an open dataset for a PyTorch DataLoader, rendered and not stored. Needs `pip install pseudolabel[torch]`."""

try:
    from pseudolabel.torch.rows import Rows
except ModuleNotFoundError as lack:
    if lack.name != "torch":
        raise
    needs = "pseudolabel.torch needs PyTorch; install it: pip install 'pseudolabel[torch]'"
    raise ModuleNotFoundError(needs, name="torch") from None

__all__ = ["Rows"]
