"""Where torch can compute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ..registry import ConfigError


def check_device(name: str) -> None:
    """Refuse a device that torch cannot compute on.

    Raises:
        ConfigError: there is no such device, or torch's reason.
    """
    try:
        kind = torch.device(name).type
    except RuntimeError as error:
        raise ConfigError(f"device={name} is no device; choose cpu, cuda or cuda:1") from error
    try:
        torch.zeros(1, device=name).cpu()
    except AssertionError as error:  # torch was built without it
        raise ConfigError(f"device={name}: this torch has no {kind.upper()}; choose device=cpu") from error
    except RuntimeError as error:
        reason = str(error).splitlines()[0].partition(". ")[0]
        raise ConfigError(f"device={name} cannot be used: {reason}") from error


@contextmanager
def torch_threads(number: int) -> Iterator[None]:
    """Inside, one torch operation computes with so many threads; afterwards with as many as before."""
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)
