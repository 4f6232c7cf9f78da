"""Many environments at once, in this process or spread over worker processes."""

from __future__ import annotations

from typing import Annotated

from ..components.rng import Stream
from ..ranges import Count, Natural, Range
from ..registry import register
from .base import Runner
from .placement import MakeEnv, place


@register("runner")
class ParallelRunner(Runner):
    """Plays B episodes side by side with one forward pass per joint step.

    Native batched environments are stepped in one call in this process; environments that are stepped one by one are
    spread over processes that share memory with this one where that is faster. Results do not depend on it.

    Args:
        make_env: makes a `VectorEnv` with the given number of rows; picklable where there are workers.
        seed: of the stream.
        stream: training, validation or test.
        n_envs: B, episodes side by side.
        workers: processes that step the environments; 0 for none; ``None``: decided by a short timing, see
            `place`.
        timeout_s: seconds after which a worker that does not answer counts as hung.
        lag: how many collections of training episodes are played while the learner updates, with weights that are at
            most so many collections old; 0: none. Environments that are stepped one by one need a worker process for
            that.
        overlap: short for ``lag=1``.
        max_failures: failures of environments that are tolerated before the run ends as failed.

    Raises:
        ValueError: more workers than environments.
    """

    def __init__(
        self,
        make_env: MakeEnv,
        seed: int,
        stream: Stream,
        *,
        n_envs: Count,
        workers: Natural | None,
        timeout_s: Annotated[float, Range(above=0, at_most=1e6)],
        lag: Annotated[int, Range(at_least=0, at_most=100)],
        overlap: bool,
        max_failures: Natural,
    ) -> None:
        if workers is not None and workers > n_envs:
            raise ValueError(f"workers must be at most n_envs={n_envs}, got {workers}")
        lag = max(lag, int(overlap)) if stream is Stream.TRAINING else 0
        placement = place(make_env, n_envs, workers, timeout_s, busy=lag > 0)
        super().__init__(placement, seed, stream, max_failures, lag=lag)
        if lag:
            age = "one collection" if lag == 1 else f"{lag} collections"
            self.placement += f", while learning, with weights at most {age} old"
