"""The PyTorch backend: modules, one protocol, nothing of dlspec in what it writes."""

from dlspec_torch.target import Target

__all__ = ["Target"]
