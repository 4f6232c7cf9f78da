"""Many environments at once, in this process or spread over worker processes."""

from __future__ import annotations

from ..components.rng import Stream
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
        workers: processes that step the environments; 0 for none; ``None``: as many as pay, see `place`.
        timeout_s: seconds after which a worker that does not answer counts as hung.
        overlap: collect training episodes while the learner updates, with weights that are at most one collection old;
            environments that are stepped one by one need a worker process for that.
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
        n_envs: int,
        workers: int | None,
        timeout_s: float,
        overlap: bool,
        max_failures: int,
    ) -> None:
        if n_envs < 1:
            raise ValueError(f"n_envs must be at least 1, got {n_envs}")
        if workers is not None and not 0 <= workers <= n_envs:
            raise ValueError(f"workers must be between 0 and n_envs={n_envs}, got {workers}")
        overlap = overlap and stream is Stream.TRAINING
        placement = place(make_env, n_envs, workers, timeout_s, busy=overlap)
        super().__init__(placement, seed, stream, max_failures, overlap=overlap)
        if overlap:
            self.where += ", while learning, with weights at most one collection old"
