"""What a team is paid when each agent has a reward of its own."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Reward = Literal["sum", "mean", "individual"]


def of_team(each: NDArray[np.floating], reward: Reward) -> NDArray[Any]:
    """The team's reward ``[...]``, or that of each agent ``[..., A]`` with ``individual``.

    Args:
        each: rewards of the agents ``[..., A]``.
        reward: ``sum`` or ``mean`` over the agents; ``individual``: they stay apart.
    """
    if reward == "individual":
        return each
    total = np.add.reduce(each, axis=-1)  # faster than np.sum and np.mean for a few agents
    return total / each.shape[-1] if reward == "mean" else total
