"""How long a run trains, and how often it logs, validates and saves."""

from __future__ import annotations

from dataclasses import dataclass

from ..ranges import Count, Steps


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """The section ``train`` of a configuration.

    Attributes:
        total_steps: environment steps after which no new episode begins.
        log_interval_steps: environment steps between rows of metrics.
        eval_interval_steps: environment steps between validations; there is one at step 0 and one at the end.
        checkpoint_interval_steps: environment steps between resumable checkpoints.
        keep_checkpoints: number of weights files kept besides the best.
    """

    total_steps: Steps
    log_interval_steps: Steps
    eval_interval_steps: Steps
    checkpoint_interval_steps: Steps
    keep_checkpoints: Count
