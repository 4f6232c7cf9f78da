"""Train the estimator of `policy=pretrained`: what a balancer sees -> how loaded the servers are.

    python examples/estimator.py mine.npz --on env=lb_unknown agents=4 --on env=lb_herd agents=8
    python main.py policy=pretrained policy.file=mine.npz env=lb_unknown agents=4

Without `--on` it learns from the mixture that the shipped one was trained on. The simulator, which knows the truth, is
the teacher; from the second round on the estimator's own weights place the flows it learns from.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import hymarl
from hymarl.components.rng import Stream, keys
from hymarl.envs.loadbalance import LoadBalance
from hymarl.envs.loadbalance.estimator import N_INPUTS, Estimator, Memory, seen, target

MIXTURE: Sequence[str] = [
    *(f"env=lb_unknown agents={n} env.rho_range=[0.5,0.95]" for n in (2, 4, 8, 16)),
    *(f"env=lb_unknown agents={n} env.cpus=[1,2,4,8] env.rho_range=[0.5,0.95]" for n in (2, 4, 8)),
    *(f"env=lb_unknown agents={n} env.cpus=[1,1,1,1,2,2,2,2,4,4,4,4,8,8,8,8] env.rho_range=[0.5,0.95]" for n in (4, 8)),
    *(f"env=lb_swap agents={n} env.rho_range=[0.5,0.9]" for n in (4, 8)),
    *(f"env=lb_herd agents={n} env.rho_range=[0.5,0.95]" for n in (4, 8, 16)),
    *(f"env=lb_background agents={n} env.rho_range=[0.5,0.9]" for n in (2, 4, 8)),
    *(f"env=lb_mixed agents={n} env.rho_range=[0.5,0.9]" for n in (2, 4, 8)),
    *(f"env=lb_scale agents={n} env.rho_range=[0.5,0.95]" for n in (2, 4, 8)),
    "env=lb_hetero agents=4 env.rho_range=[0.5,0.95]",
]
"""Situations that the shipped estimator was trained in, each the overrides of an environment."""


class Examples(NamedTuple):
    """What was seen and what was true, at some instants of an environment."""

    inputs: NDArray[np.float32]  # N L S I
    known: NDArray[np.bool_]  # N L S
    truth: NDArray[np.float32]  # N S, minus infinity where there is nothing to estimate


class Network(nn.Module):
    """As `Estimator`, to be trained."""

    def __init__(self, hidden_dim: int) -> None:
        super().__init__()
        self.own = nn.Linear(N_INPUTS, hidden_dim)
        self.mean = nn.Linear(N_INPUTS, hidden_dim, bias=False)
        self.hidden = nn.Linear(hidden_dim, hidden_dim)
        self.out = nn.Linear(hidden_dim, 1)

    def forward(self, inputs: Tensor, known: Tensor) -> Tensor:
        """Estimates ``[..., S]``."""
        n = known.sum(dim=-1).clamp(min=1)[..., None, None]
        mean = (inputs * known[..., None]).sum(dim=-2, keepdim=True) / n
        x = torch.relu(self.own(inputs) + self.mean(mean))
        return self.out(torch.relu(self.hidden(x)))[..., 0]

    def numbers(self) -> Estimator:
        """As NumPy takes them."""
        w = {name: parameter.detach().double().numpy().T for name, parameter in self.named_parameters()}
        own, mean, hidden = w["own.weight"], w["mean.weight"], w["hidden.weight"]
        return Estimator(own, mean, w["own.bias"], hidden, w["hidden.bias"], w["out.weight"][:, 0], w["out.bias"])


def play(overrides: str, first: int, args: argparse.Namespace) -> Examples:
    """Every n-th instant of episodes of one environment, the first ones under latency control, then with estimates."""
    config = hymarl.compose("policy=sed", *overrides.split())
    rule = {"rule": "pretrained", "estimator": str(args.file)} if first else {"rule": "latency"}
    env = LoadBalance(agents=config.agents, n_envs=args.episodes, **{**config.components["env"].settings, **rule})
    everywhere, memory, shots = np.ones(args.episodes, np.bool_), Memory(), []
    env.reset(keys(args.seed, Stream.TRAINING, list(range(first, first + args.episodes))), everywhere)
    actions = np.zeros((args.episodes, env.spec.n_agents), np.int64)
    for t in range(env.spec.episode_limit):
        world = env.engine.world
        now = seen(world, world.servers.shape[1], env.engine.parameters.measuring.n_features)
        inputs = memory.inputs(now)
        if (t + first) % args.every == 0:
            shots.append(Examples(inputs.astype(np.float32), now.known.copy(), target(world).astype(np.float32)))
        env.step(actions, everywhere)
    env.close()
    return Examples(*(np.concatenate(x) for x in zip(*shots, strict=True)))


def batches(examples: list[Examples], steps: int, random: np.random.Generator) -> Iterator[list[Tensor]]:
    """Instants of one environment after the other."""
    for step in range(steps):
        some = examples[step % len(examples)]
        at = random.integers(0, len(some.truth), 64)
        yield [torch.from_numpy(x[at]) for x in some]


def fit(network: Network, examples: list[Examples], args: argparse.Namespace, seed: int) -> float:
    """Least squares; returns the mean error of the last fifth of the steps."""
    optimizer = torch.optim.Adam(network.parameters(), args.lr)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.02, args.steps)
    losses = []
    for inputs, known, truth in batches(examples, args.steps, np.random.default_rng(seed)):
        estimate = network(inputs, known)  # N L S
        wanted = (known & torch.isfinite(truth)[:, None]).float()
        error = estimate - truth.nan_to_num(neginf=0.0)[:, None]
        n = wanted.sum(dim=-1, keepdim=True).clamp(min=1)
        error = error - (error * wanted).sum(dim=-1, keepdim=True) / n  # only ratios between servers matter
        loss = (error**2 * wanted).sum() / wanted.sum().clamp(min=1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.detach())
    return float(torch.stack(losses[-args.steps // 5 :]).mean())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="to write the estimator to, an .npz")
    parser.add_argument("--on", nargs="+", action="append", metavar="OVERRIDE", help="an environment; repeatable")
    parser.add_argument("--seed", type=int, default=1, help="of episodes and initial weights (default 1)")
    parser.add_argument("--rounds", type=int, default=6, help="of playing and fitting (default 6)")
    parser.add_argument("--episodes", type=int, default=32, help="per round and environment (default 32)")
    parser.add_argument("--every", type=int, default=2, help="learn from every n-th instant (default 2)")
    parser.add_argument("--steps", type=int, default=6000, help="of the optimizer per round (default 6000)")
    parser.add_argument("--lr", type=float, default=1e-3, help="of Adam at the start of a round (default 0.001)")
    parser.add_argument("--hidden", type=int, default=64, help="units of a layer (default 64)")
    args = parser.parse_args()
    if not args.file.absolute().parent.is_dir():
        parser.error(f"{args.file.parent} is no folder")
    torch.manual_seed(args.seed)
    network, start = Network(args.hidden), time.time()
    situations = MIXTURE if args.on is None else [" ".join(words) for words in args.on]
    examples: list[Examples] = []
    for number in range(args.rounds):
        examples += [play(overrides, number * args.episodes, args) for overrides in situations]
        error = fit(network, examples, args, args.seed + number)
        print(f"round {number + 1}: mean square error {error:.4f}, {time.time() - start:.0f} s", flush=True)
        network.numbers().save(args.file)


if __name__ == "__main__":
    main()
