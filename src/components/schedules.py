"""How a number changes with the training step."""

from __future__ import annotations


def linear(step: int, start: float, finish: float, duration: int) -> float:
    """From ``start`` at step 0 along a line to ``finish`` at ``duration``, constant from there on."""
    if step >= duration:
        return finish
    return start + (finish - start) * step / duration


def exponential(step: int, start: float, finish: float, duration: int) -> float:
    """From ``start`` at step 0 by a constant factor per step to ``finish`` at ``duration``, constant from there on."""
    if step >= duration:
        return finish
    return float(start * (finish / start) ** (step / duration))
