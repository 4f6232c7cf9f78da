"""One environment, one episode after another."""

from __future__ import annotations

from ..components.rng import Stream
from ..ranges import Natural
from ..registry import register
from .base import Runner
from .placement import MakeEnv, place


@register("runner")
class EpisodeRunner(Runner):
    """Plays one episode at a time in this process: the least memory, the simplest to debug.

    Args:
        make_env: makes a `VectorEnv` with the given number of rows.
        seed: of the stream.
        stream: training, validation or test.
        max_failures: failures of the environment that are tolerated before the run ends as failed.
    """

    def __init__(self, make_env: MakeEnv, seed: int, stream: Stream, *, max_failures: Natural) -> None:
        super().__init__(place(make_env, 1, 0, 0.0), seed, stream, max_failures)
