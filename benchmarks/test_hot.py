"""Guards hot functions by ratios taken in one run: ``python -m pytest benchmarks/test_hot.py``.

Each is timed in turn with a reference that does the same amount of work, or the part of it that nobody can avoid, with
bare PyTorch or NumPy. The limits leave room for a noisy machine; docs/benchmarks.md has the ratios they were set by.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parent / "contestants"))

from ours import NO_GAME, configure, make_policy, specification, synthetic_batch, synthetic_sample
from workloads import ACTING, FC, GRU, HYPERNET, LEARNER, MIXING, Sizes, update_flop

from hymarl.app.assembly import build_learner
from hymarl.components.memory import reuse_large_blocks
from hymarl.components.replay.uniform import UniformReplay
from hymarl.components.rng import Stream, keys
from hymarl.components.spec import TimeStep
from hymarl.learners.targets import lambda_returns
from hymarl.policies.base import PolicyState
from hymarl.registry import build

Call = Callable[[], Any]


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    reuse_large_blocks()
    yield
    torch.set_num_threads(before)


def guard(benchmark: Any, hot: Call, reference: Call, limit: float, *, rounds: int = 15, repeat: int = 1) -> None:
    """Time both in turn, ``repeat`` calls at once, and compare the median of the rounds' ratios with the limit."""

    def seconds(call: Call) -> float:
        began = time.perf_counter()
        for _ in range(repeat):
            call()
        return time.perf_counter() - began

    seconds(hot), seconds(reference)
    ratio = median(seconds(hot) / seconds(reference) for _ in range(rounds))
    benchmark.extra_info |= {"ratio": round(ratio, 2), "limit": limit}
    benchmark.pedantic(hot, rounds=rounds, iterations=repeat)
    print(f"\n{benchmark.name}: {ratio:.2f} times the reference, at most {limit}")
    assert ratio <= limit


def update_of(sizes: Sizes) -> Call:
    spec = specification(sizes)
    learner, sample = build_learner(configure(NO_GAME), spec), synthetic_sample(spec, sizes)
    return lambda: learner.update(sample)


class PlainAgent(nn.Module):
    """A layer, a GRU and a head over whole episodes ``[B, T, A, inputs]``."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()
        self.fc, self.head = nn.Linear(s.obs + s.actions + s.agents, FC), nn.Linear(GRU, s.actions)
        self.gru = nn.GRU(FC, GRU, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        b, t, a, _ = x.shape
        h, _ = self.gru(torch.relu(self.fc(x)).transpose(1, 2).reshape(b * a, t, FC))
        return self.head(h).view(b, a, t, -1).transpose(1, 2)


class PlainMixer(nn.Module):
    """QMIX of values ``[B, T, A]`` by states."""

    def __init__(self, s: Sizes) -> None:
        super().__init__()

        def two(width: int, out: int) -> nn.Sequential:
            return nn.Sequential(nn.Linear(s.state, width), nn.ReLU(), nn.Linear(width, out))

        self.w1, self.w2 = two(HYPERNET, s.agents * MIXING), two(HYPERNET, MIXING)
        self.b1, self.v = nn.Linear(s.state, MIXING), two(MIXING, 1)

    def forward(self, q: Tensor, state: Tensor) -> Tensor:
        w1 = self.w1(state).abs().unflatten(-1, (q.shape[-1], MIXING))
        hidden = nn.functional.elu((q.unsqueeze(-2) @ w1).squeeze(-2) + self.b1(state))
        return (hidden * self.w2(state).abs()).sum(-1) + self.v(state).squeeze(-1)


def plain_update_of(s: Sizes) -> Call:
    """One double-Q update, written down for these sizes and nothing else."""
    rows = (s.episodes, s.steps + 1)
    agent, slow, mixer, slow_mixer = PlainAgent(s), PlainAgent(s), PlainMixer(s), PlainMixer(s)
    parameters = [*agent.parameters(), *mixer.parameters()]
    optimizer = torch.optim.Adam(parameters, 5e-4)
    obs, state, reward = torch.randn(*rows, s.agents, s.obs), torch.randn(*rows, s.state), torch.randn(rows)[:, 1:]
    actions = torch.randint(s.actions, (*rows, s.agents))
    ids = torch.eye(s.agents).expand(*rows, -1, -1)

    def update() -> None:
        x = torch.cat([obs, nn.functional.one_hot(actions, s.actions), ids], dim=-1)
        q = agent(x)
        taken = q[:, :-1].gather(-1, actions[:, :-1, :, None]).squeeze(-1)
        with torch.no_grad():
            best = q[:, 1:].argmax(-1, keepdim=True)
            target = reward + 0.99 * slow_mixer(slow(x)[:, 1:].gather(-1, best).squeeze(-1), state[:, 1:])
        loss = (mixer(taken, state[:, :-1]) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 10.0)
        optimizer.step()

    return update


def test_update_against_the_products_it_consists_of(benchmark):
    sizes, n = LEARNER["w3"], 1024
    a, b = torch.randn(n, n), torch.randn(n, n)
    products = round(update_flop(sizes) / (2 * n**3))

    def multiply() -> None:
        for _ in range(products):
            torch.mm(a, b)

    guard(benchmark, update_of(sizes), multiply, limit=4.0, rounds=5)


@pytest.mark.parametrize("case", LEARNER)
def test_update_against_plain_torch(benchmark, case):
    guard(benchmark, update_of(LEARNER[case]), plain_update_of(LEARNER[case]), limit=1.6, rounds=7)


@pytest.mark.parametrize("case", ACTING)
def test_acting_against_bare_products(benchmark, case):
    n_envs, s = ACTING[case]
    spec, rows = specification(s), n_envs * s.agents
    policy = make_policy(configure(NO_GAME), spec)
    obs = np.random.default_rng(0).random((n_envs, s.agents, s.obs), np.float32)
    avail = np.ones((n_envs, s.agents, s.actions), np.bool_)
    state = policy.act(obs, avail, PolicyState.start(spec, np.arange(n_envs, dtype=np.uint64), 20_000))[1]
    x, h = torch.randn(rows, s.obs + s.actions + s.agents), torch.randn(rows, GRU)
    weights = [torch.randn(i, o) for i, o in ((x.shape[1], FC), (FC, 3 * GRU), (GRU, 3 * GRU), (GRU, s.actions))]

    @torch.inference_mode()
    def multiply() -> None:
        (((x @ weights[0]) @ weights[1])[:, :GRU] + (h @ weights[2])[:, :GRU]) @ weights[3]

    guard(benchmark, lambda: policy.act(obs, avail, state), multiply, limit=20.0, repeat=200)


def test_goal_swap_against_filling_its_arrays(benchmark):
    n_envs = 64
    env = build("env", "goal_swap", {"size": 5, "episode_limit": 100}, None, n_envs)
    everywhere = np.ones(n_envs, np.bool_)
    seeds, actions = keys(0, Stream.TEST, np.arange(n_envs)), np.random.default_rng(0).integers(0, 4, (n_envs, 2))
    env.reset(seeds, everywhere)

    def step() -> None:
        if env.step(actions, everywhere).truncated.any():
            env.reset(seeds, everywhere)

    guard(benchmark, step, lambda: TimeStep.zeros(env.spec, n_envs), limit=100.0, repeat=100)


def test_sampling_against_indexing(benchmark):
    s = LEARNER["w3"]
    spec = specification(s)
    buffer = UniformReplay(spec, {}, 1, batch_episodes=1, buffer_episodes=256, updates_per_episode=0.0)
    batch = synthetic_batch(spec, s)
    for _ in range(8):
        buffer.insert(batch)
    tensors = [x.repeat(8, *(1 for _ in x.shape[1:])) for x in batch.tensors().values()]
    index = torch.randperm(256)[: s.episodes]
    guard(benchmark, lambda: buffer.sample(s.episodes, 0), lambda: [x[index] for x in tensors], limit=2.0)


def test_lambda_returns_against_a_loop_over_time(benchmark):
    b, t = 32, 120
    reward, values = torch.randn(b, t, 1), torch.randn(b, t, 1)
    ends, filled = torch.zeros(b, t, dtype=torch.bool), torch.ones(b, t, dtype=torch.bool)

    def loop() -> Tensor:
        later, returns = values[:, -1], []
        for r, v in zip(reversed(reward.unbind(1)), reversed(values.unbind(1)), strict=True):
            later = r + 0.99 * (0.4 * v + 0.6 * later)
            returns.append(later)
        return torch.stack(returns[::-1], 1)

    hot = lambda_returns(reward, values, ends, filled, 0.99, 0.6)
    torch.testing.assert_close(hot, loop())
    guard(benchmark, lambda: lambda_returns(reward, values, ends, filled, 0.99, 0.6), loop, limit=0.5, repeat=20)
