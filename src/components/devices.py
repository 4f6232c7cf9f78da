"""Where torch can compute."""

from __future__ import annotations

import torch

from ..registry import ConfigError


def check_device(name: str) -> None:
    """Refuse a device that torch cannot compute on.

    Raises:
        ConfigError: with torch's reason.
    """
    try:
        torch.zeros(1, device=name).cpu()
    except (RuntimeError, AssertionError) as error:  # the latter where torch was built without CUDA
        raise ConfigError(f"device={name} cannot be used: {str(error).splitlines()[0]}") from error
