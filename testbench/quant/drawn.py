"""Random layers: correlated inputs and weights."""

import torch
from torch import Tensor


def correlated(rows: int, width: int, seed: int) -> Tensor:
    """Inputs float32 [rows, width] with strongly correlated columns, mean zero."""
    print(f"seed={seed}")
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(width, width, generator=generator) * torch.logspace(0, -2, width)[:, None]
    x = torch.randn(rows, width, generator=generator) @ mixing
    return x - x.mean(0)


def random_weight(outputs: int, width: int, seed: int) -> Tensor:
    """Weight float64 [outputs, width]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(outputs, width, generator=generator, dtype=torch.float64)
