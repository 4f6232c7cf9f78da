"""Where torch can compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Inside, one torch operation computes with so many threads; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
