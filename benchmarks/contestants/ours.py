"""HyMARL: ``python ours.py CASE SECONDS [OVERRIDE ...]`` with overrides as on the command line of main.py."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from measure import Window, call_ms, first_step_hook, report, report_update, versions
from workloads import ACTING, BATCH_EPISODES, BUFFER_EPISODES, FC, GAMES, GRU, HYPERNET, LEARNER, MIXING, Sizes

if TYPE_CHECKING:
    from hymarl.app.config import RunConfig
    from hymarl.components.episode import EpisodeBatch
    from hymarl.components.replay.base import Sample
    from hymarl.components.spec import EnvSpec
    from hymarl.learners.base import Learner
    from hymarl.policies.base import Policy
    from hymarl.policies.learned import LearnedPolicy
    from hymarl.runners.base import Runner
    from hymarl.training.trainer import Trainer

MAIN = Path(__file__).resolve().parents[2] / "main.py"

NETWORKS = (f"network.hidden_dims=[{FC}]", f"network.rnn_dim={GRU}")
MIXER = ("mixer=qmix", f"mixer.embed_dim={MIXING}", "mixer.hypernet_layers=2", f"mixer.hypernet_dim={HYPERNET}")
NO_GAME = ("env=goal_swap", *NETWORKS, *MIXER)
"""For what needs no game: it brings no values of its own."""

TASKS: Mapping[str, Sequence[str]] = {
    "lbf": ("env=lbf", "suggestions=none", *NETWORKS, *MIXER),
    "spread": ("env=mpe", "agents=3", *NETWORKS, *MIXER),
    "loadbalance": ("env=loadbalance", "agents=4"),  # with the network and values it suggests
}
COLLECTED: Mapping[str, Sequence[str]] = {
    "lbf": (*TASKS["lbf"], "env.task=Foraging-8x8-2p-3f-v3", "runner.n_envs=8"),
    "spread": (*TASKS["spread"], "runner.n_envs=8"),
    "loadbalance": (*TASKS["loadbalance"], "runner.n_envs=8"),
    "goal_swap": (*NO_GAME, "runner.n_envs=64"),
}


def configure(overrides: Sequence[str]) -> RunConfig:
    """The checked configuration of a command line."""
    from hydra import compose, initialize_config_module
    from omegaconf import open_dict

    from hymarl.app.config import read
    from hymarl.app.directories import register_resolvers

    register_resolvers()
    with initialize_config_module("hymarl.conf", version_base="1.3"):
        cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
        choices = cfg.hydra.runtime.choices
        with open_dict(cfg):
            del cfg["hydra"]
        return read(cfg, choices, overrides)


def prepare(config: RunConfig, made: Learner | None = None) -> None:
    """What a training run sets for its process and its learner."""
    import torch

    from hymarl.components.memory import reuse_large_blocks
    from hymarl.components.threads import decide

    runner = {"overlap": False, "lag": 0, **config.components["runner"].settings}
    threads = decide(config.threads, 1, runner["overlap"] or runner["lag"] > 0)
    torch.set_num_threads(threads.torch)
    if made and threads.second:
        made.use_second_thread()
    reuse_large_blocks()


def learner(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """One update on a synthetic batch."""
    import torch

    from hymarl.app.assembly import build_learner

    sizes = LEARNER[case]
    config = configure((*NO_GAME, *overrides))
    torch.manual_seed(0)
    spec = specification(sizes)
    made, sample = build_learner(config, spec), synthetic_sample(spec, sizes)
    prepare(config, made)
    with closing(made):
        report_update(lambda: made.update(sample), sizes, seconds, versions=versions("hymarl", "torch", "numpy"))


def specification(sizes: Sizes) -> EnvSpec:
    """Sizes of an environment that does not exist."""
    from hymarl.components.spec import EnvSpec

    return EnvSpec(sizes.agents, sizes.actions, sizes.obs, sizes.state, sizes.steps)


def synthetic_sample(spec: EnvSpec, sizes: Sizes) -> Sample:
    """Full episodes of noise, as replay hands them to a learner."""
    import numpy as np

    from hymarl.components.replay.base import Sample

    return Sample(synthetic_batch(spec, sizes), np.arange(sizes.episodes))


def synthetic_batch(spec: EnvSpec, sizes: Sizes) -> EpisodeBatch:
    """Full episodes of noise."""
    import torch

    from hymarl.components.episode import EpisodeBatch

    batch = EpisodeBatch.empty(spec, sizes.episodes)
    for x in (batch.obs, batch.state, batch.reward):
        x.copy_(torch.randn(x.shape))
    batch.actions.copy_(torch.randint(spec.n_actions, batch.actions.shape))
    batch.filled.fill_(True)
    return batch


def make_policy(config: RunConfig, spec: EnvSpec) -> LearnedPolicy:
    """The configured policy, exploring."""
    from hymarl.app.assembly import describe_policy
    from hymarl.policies.learned import LearnedPolicy

    controller = describe_policy(config, spec).controller()
    return LearnedPolicy(spec, controller, config.components["selector"].factory()(spec, ()))


def act(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """One call of the policy for all environments."""
    import numpy as np

    from hymarl.policies.base import PolicyState

    n_envs, sizes = ACTING[case]
    config = configure((*NO_GAME, *overrides))
    prepare(config)
    spec = specification(sizes)
    policy = make_policy(config, spec)
    obs = np.random.default_rng(0).random((n_envs, sizes.agents, sizes.obs), np.float32)
    avail = np.ones((n_envs, sizes.agents, sizes.actions), np.bool_)
    start = PolicyState.start(spec, np.arange(n_envs, dtype=np.uint64), 20_000)

    def decide_often(calls: int = 200) -> None:
        state = start
        for _ in range(calls):
            _, state = policy.act(obs, avail, state)

    ms, n = call_ms(decide_often, seconds)
    report(ms / 200, calls=200 * n, versions=versions("hymarl", "torch", "numpy"))


def collect(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Environment steps per second of the runner, acting included, learning not."""
    report_collecting((*COLLECTED[case], *overrides), make_policy, seconds)


def collect_at_random(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Environment steps per second of the runner with 32 environments and a policy that costs next to nothing."""
    from hymarl.policies.random import RandomPolicy

    report_collecting((*COLLECTED[case], "runner.n_envs=32", *overrides), lambda _, spec: RandomPolicy(spec), seconds)


def report_collecting(
    overrides: Sequence[str], policy_of: Callable[[RunConfig, EnvSpec], Policy], seconds: float
) -> None:
    """Measure and report the configured runner with a policy."""
    from hymarl.app.assembly import build_runner
    from hymarl.components.rng import Stream

    config = configure(overrides)
    prepare(config)
    with closing(build_runner(config, Stream.TRAINING)) as runner:
        policy = policy_of(config, runner.spec)
        play(runner, policy, 0.0)  # compiles
        report(1 / play(runner, policy, seconds), where=runner.placement, versions=versions("hymarl", "torch", "numpy"))


def play(runner: Runner, policy: Policy, seconds: float) -> float:
    """Seconds per environment step of collecting for so long, two collections at least."""
    import numpy as np

    steps, number, began = 0, 0, time.perf_counter()
    while (wall := time.perf_counter() - began) < seconds or number < 2 * runner.n_envs:
        steps += int(runner.play(policy, np.arange(number, number + runner.n_envs)).statistics.lengths.sum())
        number += runner.n_envs
    return wall / steps


def step(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Environment steps per second of the environment alone, with random available actions; resets are counted."""
    import numpy as np

    from hymarl.app.assembly import environment_factory
    from hymarl.components.rng import Stream, keys
    from hymarl.components.selectors.base import nth_available

    config = configure((f"env={case}", *overrides))
    prepare(config)
    n_envs, everywhere, steps, spent, episode = 64, np.ones(64, np.bool_), 0, 0.0, 0
    with closing(environment_factory(config)(n_envs)) as env:
        chances = np.random.default_rng(0).random((256, n_envs, env.spec.n_agents))
        while episode < 2 or spent < seconds:
            if episode == 1:  # everything is compiled
                steps, spent = 0, 0.0
            seeds, active = keys(0, Stream.TRAINING, np.arange(n_envs) + episode * n_envs), everywhere
            before = time.perf_counter()
            now = env.reset(seeds, everywhere)
            spent += time.perf_counter() - before
            for t in range(env.spec.episode_limit):
                actions = nth_available(now.avail | ~active[:, None, None], chances[t % len(chances)])
                before = time.perf_counter()
                now = env.step(actions, active)
                spent += time.perf_counter() - before
                steps += int(active.sum())
                active = active & ~(now.terminated | now.truncated)
                if not active.any():
                    break
            episode += 1
        report(steps / spent, versions=versions("hymarl", "numpy"))


def training(case: str) -> list[str]:
    """The overrides of a training workload: no evaluation but a short one at the start, no checkpoints."""
    game = GAMES[case]
    return [
        *TASKS[game.name],
        *([f"env.task={game.task}-v3"] if game.task else []),
        f"runner.n_envs={game.n_envs}",
        f"replay.batch_episodes={BATCH_EPISODES}",
        f"replay.buffer_episodes={BUFFER_EPISODES}",
        f"replay.updates_per_episode={1 / game.n_envs}",
        *(f"train.{x}_interval_steps=1000000000" for x in ("eval", "checkpoint")),
        "train.total_steps=1000000000",
        "eval.episodes=1",
    ]


def train(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """Environment steps per second of the training loop, and what its parts alone would allow."""
    from hymarl.app.assembly import build_trainer

    config = configure((*training(case), *overrides))
    window = Window(seconds)
    with closing(build_trainer(config)) as trainer:
        prepare(config, trainer.learner)
        for _ in trainer.run(lambda: window.over(trainer.steps, trainer.learner.updates)):
            pass  # records that nobody logs
        seen = window.result()
        where = trainer.collector.runner.placement
        parameters = sum(p.numel() for p in trainer.learner.networks.parameters())
    alone = configure(
        (*training(case), *(x for x in overrides if not x.startswith(("runner.overlap=", "runner.lag="))))
    )
    with closing(build_trainer(alone)) as trainer:
        prepare(alone, trainer.learner)
        parts = measure_parts(trainer, seconds / 2)
    steps_per_s = 1 / (parts["collect_us_per_step"] / 1e6 + parts["update_ms"] / 1e3 / seen["steps_per_update"])
    share, names = seen["value"] / steps_per_s, versions("hymarl", "torch", "numpy")
    report(**seen, share_of_parts=share, **parts, where=where, parameters=parameters, versions=names)


def measure_parts(trainer: Trainer, seconds: float) -> dict[str, float]:
    """Collecting and updating on their own, without the training loop around them; the peak memory is not of these."""
    from hymarl.components.replay.uniform import UniformReplay

    collector, replay = trainer.collector, trainer.replay
    assert isinstance(replay, UniformReplay)
    while replay.size < BATCH_EPISODES:
        replay.insert(collector.take().batch)
    sample = replay.sample(BATCH_EPISODES, 0)
    collect_s = play(collector.runner, collector.policy, seconds)
    update_ms, _ = call_ms(lambda: trainer.learner.update(sample), seconds)
    return {"collect_us_per_step": collect_s * 1e6, "update_ms": update_ms}


def start(case: str, seconds: float, overrides: Sequence[str]) -> None:
    """``help``: CPU seconds of main.py --help. ``step``: seconds to the first step of an environment in a real run."""
    if case == "help":
        child = subprocess.Popen([sys.executable, str(MAIN), "--help"], stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0
        report(usage.ru_utime + usage.ru_stime, rss_mb=usage.ru_maxrss / 1024, versions=versions("hymarl"))
        return
    from hymarl import main
    from hymarl.app import train

    build = train.build_trainer

    def hooked(config: RunConfig) -> Trainer:
        trainer: Any = build(config)
        env = trainer.evaluator.runner.env
        env.step = first_step_hook(env.step)
        return trainer

    train.build_trainer = hooked
    with TemporaryDirectory() as folder:
        sys.argv = ["main.py", *training("w1-1"), f"hydra.run.dir={folder}/run", *overrides]
        main.main()


CASES = {
    "learner": learner,
    "act": act,
    "collect": collect,
    "random": collect_at_random,
    "step": step,
    "train": train,
    "start": start,
}.items()

if __name__ == "__main__":
    kind, _, which = sys.argv[1].partition("-")
    dict(CASES)[kind](which, float(sys.argv[2]), sys.argv[3:])
