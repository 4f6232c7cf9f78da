"""What an update of each algorithm costs over one of QMIX's: ``python benchmarks/update_costs.py [ROUNDS]``.

Each in turn updates once on the same synthetic batch, the largest of the learner benchmarks, with one thread.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent / "contestants"))

from ours import NETWORKS, configure, specification, synthetic_batch
from workloads import LEARNER

from hymarl.app.assembly import build_learner
from hymarl.app.options import options
from hymarl.components.episode import Column
from hymarl.components.memory import reuse_large_blocks
from hymarl.components.replay.base import Sample
from hymarl.learners.base import Learner


def prepared(algo: str) -> tuple[Learner, Sample] | None:
    """The learner of an algorithm with equal networks, and the batch as its replay would hand it over.

    ``None`` for an algorithm of one agent in place of all, whose batches are others.
    """
    torch.manual_seed(0)
    spec = specification(LEARNER["w3"])
    config = configure(("env=goal_swap", "network=rnn", *NETWORKS, f"algo={algo}"))
    if config.joint:
        return None
    learner, batch = build_learner(config, spec), synthetic_batch(spec, LEARNER["w3"])
    for name in learner.needs:  # what the acting policy would have added: the probabilities of its actions
        column = Column((spec.n_agents,), torch.float32, "T")
        batch = batch.extended({name: column}, {name: torch.zeros(batch.actions.shape)})
    return learner, Sample(learner.prepare(batch), np.arange(batch.n_episodes))


def main(rounds: int) -> None:
    """Print a line for each algorithm: median time of an update, and its ratio to QMIX's in the same round."""
    reuse_large_blocks()
    torch.set_num_threads(1)
    qmix_first = sorted(options("algo"), key=lambda algo: algo != "qmix")
    made = {algo: parts for algo in qmix_first if (parts := prepared(algo)) is not None}
    seconds: dict[str, list[float]] = {algo: [] for algo in made}
    for _ in range(rounds + 1):  # the first is not counted
        for algo, (learner, sample) in made.items():
            began = time.perf_counter()
            learner.update(sample)
            seconds[algo].append(time.perf_counter() - began)
    for algo, counted in seconds.items():
        ratios = [x / y for x, y in zip(counted[1:], seconds["qmix"][1:], strict=True)]
        ms = 1e3 * statistics.median(counted[1:])
        spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
        print(f"{algo:14} {ms:6.1f} ms   {statistics.median(ratios):.2f} ({spread}) of QMIX")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 7)
