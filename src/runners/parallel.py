"""Many environments at once, in this process or spread over worker processes."""

from __future__ import annotations

from ..components.rng import Stream
from ..envs.workers import WorkerEnvs
from ..registry import register
from .base import MakeEnv, Runner


@register("runner")
class ParallelRunner(Runner):
    """Plays B episodes side by side with one forward pass per joint step.

    Native batched environments are stepped in one call in this process (``workers=0``); environments written in Python
    can be spread over processes that share memory with this one.

    Args:
        make_env: makes a `VectorEnv` with the given number of rows; picklable where there are workers.
        seed: of the stream.
        stream: training, validation or test.
        n_envs: B, episodes side by side.
        workers: processes that step the environments; 0 for none.
        timeout_s: seconds after which a worker that does not answer counts as hung.
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
        workers: int,
        timeout_s: float,
        max_failures: int,
    ) -> None:
        if not 0 <= workers <= n_envs:
            raise ValueError(f"workers must be between 0 and n_envs={n_envs}, got {workers}")
        make = make_env if workers == 0 else lambda n: WorkerEnvs(make_env, n, workers, timeout_s=timeout_s)
        super().__init__(make, n_envs, seed, stream, max_failures)
