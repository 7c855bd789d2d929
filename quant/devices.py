"""Devices that calibration can compute on."""

import torch

from ..errors import ConfigError


def check_device(name: str) -> None:
    """Refuse a device that this torch or this machine does not have: ConfigError."""
    try:
        # Parameters have double precision, which not every device computes with.
        torch.ones(1, dtype=torch.float64, device=name).add(1).item()
    except Exception as error:  # torch raises several kinds, of several lines
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"device must be one that torch can use, not {name!r}: {reason}"
        ) from None
