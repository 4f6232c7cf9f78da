"""Losses over valid cells: pure functions. Masked cells change neither value nor gradient, even if they are NaN."""

from __future__ import annotations

import torch
from torch import Tensor


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x [B, T, V]`` over the cells of ``mask [B, T]``: the sum over them divided by their number times V."""
    kept = torch.where(mask.unsqueeze(-1), x, torch.zeros_like(x))
    return kept.sum() / (mask.sum() * x.shape[-1]).clamp(min=1)


def cell_mean(x: Tensor, mask: Tensor, weights: Tensor | None = None) -> Tensor:
    """Mean of ``x`` over the cells of a mask of the same shape ``[B, T, A]``, 0 where there are none.

    Args:
        x: ``[B, T, A]``.
        mask: ``[B, T, A]`` bool.
        weights: ``[B]``, how much each episode counts; the sum is divided by the number of cells all the same.
    """
    kept = torch.where(mask, x, torch.zeros_like(x))
    if weights is not None:
        kept = kept * weights[:, None, None]
    return kept.sum() / mask.sum().clamp(min=1)


def standardized(x: Tensor, mask: Tensor) -> Tensor:
    """``x`` with mean 0 and standard deviation 1 over the cells of a mask of the same shape ``[B, T, V]``."""
    mean = cell_mean(x, mask)
    std = cell_mean((x - mean).square(), mask).sqrt()
    return (x - mean) / (std + 1e-5)


def episode_means(x: Tensor, mask: Tensor) -> Tensor:
    """Mean of ``x [B, T, V]`` over the cells of ``mask [B, T]`` of each episode, ``[B]``; 0 where there are none."""
    kept = torch.where(mask.unsqueeze(-1), x, torch.zeros_like(x))
    return kept.sum(dim=(1, 2)) / (mask.sum(dim=1) * x.shape[-1]).clamp(min=1)


def td_cells(td_error: Tensor, huber_delta: float | None = None) -> Tensor:
    """The loss of each TD error, see `td_loss`."""
    if huber_delta is None:
        return td_error.square()
    size = td_error.abs()
    return torch.where(size <= huber_delta, td_error.square(), huber_delta * (2 * size - huber_delta))


def td_loss(td_error: Tensor, mask: Tensor, huber_delta: float | None = None, weights: Tensor | None = None) -> Tensor:
    """Masked mean of the squared TD error, or of Huber's loss, which is quadratic up to ``huber_delta`` and linear
    beyond.

    The square has no factor one half (as in PyMARL; PyMARL2 halves it); Huber's loss is scaled to agree with the square
    for small errors, i.e. twice the usual definition (Huber, 1964).

    Args:
        td_error: ``[B, T, V]``.
        mask: ``[B, T]``.
        huber_delta: where Huber's loss becomes linear; ``None``: squares.
        weights: how much each cell counts, ``[B]`` for whole episodes or anything that broadcasts to ``[B, T, V]``;
            ``None``: all alike. The sum is divided by the number of cells, not by the sum of the weights.
    """
    cells = td_cells(torch.where(mask.unsqueeze(-1), td_error, torch.zeros_like(td_error)), huber_delta)
    if weights is not None:
        cells = cells * (weights[:, None, None] if weights.dim() == 1 else weights)
    return masked_mean(cells, mask)
