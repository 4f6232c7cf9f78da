"""How the time of a step, of acting and of an update, and the memory of replay, grow with the size of the problem.

``python benchmarks/scaling.py`` measures load balancing with QMIX and writes ``scaling.csv``, ``scaling.md`` and
``scaling.png`` to a directory under ``results/``. Times are CPU seconds of one thread, so other work on the machine
disturbs them little; each is the smallest of several repetitions.
"""

from __future__ import annotations

import argparse
import csv
import gc
import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from hymarl.components.threads import restrain_libraries

restrain_libraries()

import numpy as np  # noqa: E402
import torch  # noqa: E402

from hymarl.app.config import option  # noqa: E402
from hymarl.components.memory import reuse_large_blocks  # noqa: E402
from hymarl.components.replay.base import Sample  # noqa: E402
from hymarl.components.replay.uniform import UniformReplay  # noqa: E402
from hymarl.components.rng import Stream  # noqa: E402
from hymarl.components.selectors.epsilon_greedy import EpsilonGreedy  # noqa: E402
from hymarl.envs.contract.vector_env import VectorEnv  # noqa: E402
from hymarl.policies.base import PolicyState  # noqa: E402
from hymarl.policies.description import PolicyDescription  # noqa: E402
from hymarl.policies.learned import LearnedPolicy  # noqa: E402
from hymarl.registry import build  # noqa: E402
from hymarl.runners.parallel import ParallelRunner  # noqa: E402

BATCH_EPISODES = 32
PARTS = ("simulate", "act", "collect", "update")


@dataclass(frozen=True)
class Size:
    """One point of the study; along each axis one of them varies.

    Attributes:
        agents: load balancers.
        servers: shared by them.
        n_envs: environments side by side.
        length: steps of an episode.
    """

    agents: int = 4
    servers: int = 4
    n_envs: int = 8
    length: int = 100


AXES: Mapping[str, tuple[int, ...]] = {
    "agents": (2, 4, 8, 16, 32),
    "servers": (4, 8, 16, 32, 64),
    "n_envs": (1, 4, 16, 64, 256),
    "length": (25, 50, 100, 200, 400),
}


def make_env(size: Size, n_envs: int) -> VectorEnv:
    """Load balancing of this size."""
    settings = {
        **option_of_loadbalance(),
        "cpus": [2, 2, 4, 4] * (size.servers // 4),
        "episode_limit": size.length,
        "metrics": ["jct"],
    }
    env = build("env", "loadbalance", settings, size.agents, n_envs)
    assert isinstance(env, VectorEnv)
    return env


def option_of_loadbalance() -> dict[str, object]:
    """The settings of ``env=loadbalance``."""
    from hydra import compose, initialize_config_module
    from omegaconf import OmegaConf

    with initialize_config_module("hymarl.conf", version_base="1.3"):
        values = OmegaConf.to_container(compose("config", overrides=["env=loadbalance"]).env)
    assert isinstance(values, dict)
    values.pop("name")
    return {str(key): value for key, value in values.items()}


def cpu_seconds(call: Callable[[], object], repetitions: int) -> float:
    """The smallest CPU time of a call."""
    call()
    times = []
    for _ in range(repetitions):
        began = time.process_time()
        call()
        times.append(time.process_time() - began)
    return min(times)


def measure(size: Size, repetitions: int) -> dict[str, float]:
    """Microseconds per environment step of each part, milliseconds per update."""
    runner = ParallelRunner(
        lambda n: make_env(size, n), 1, Stream.TRAINING, n_envs=size.n_envs, workers=0, timeout_s=60.0, lag=0,
        overlap=False, max_failures=0,
    )  # fmt: skip
    spec = runner.spec
    mac, network = option("controller", "mac"), option("network", "entity")
    torch.manual_seed(0)
    settings = {**mac.settings, "agent_id": False}
    controller = PolicyDescription(spec, mac.name, settings, network.name, network.settings).controller()
    selector = EpsilonGreedy(spec, (), schedule="linear", start=1.0, finish=0.05, anneal_steps=50000, explore="agent")
    policy = LearnedPolicy(spec, controller, selector)
    batch, _ = runner.play(policy, np.arange(max(size.n_envs, BATCH_EPISODES)))
    batch = batch.select(torch.arange(BATCH_EPISODES))
    steps = size.n_envs * size.length
    collect = cpu_seconds(lambda: runner.play(policy, np.arange(size.n_envs)), repetitions) / steps
    obs = np.tile(batch.obs[:1, 0].numpy(), (size.n_envs, 1, 1))
    avail = np.ones((size.n_envs, spec.n_agents, spec.n_actions), np.bool_)

    def act() -> None:
        state = PolicyState.start(spec, np.arange(size.n_envs, dtype=np.uint64), 20000)
        for _ in range(20):
            _, state = policy.act(obs, avail, state)

    acting = cpu_seconds(act, repetitions) / (20 * size.n_envs)
    runner.close()
    mixer = option("mixer", "qmix").factory()(spec)
    q = option("learner", "q")
    optimizer = option("optimizer", "adam").factory()()
    learner = build("learner", q.name, {**q.settings, "td_lambda": 0.6}, controller, mixer, optimizer)
    sample = Sample(batch, np.arange(BATCH_EPISODES))
    update = cpu_seconds(lambda: learner.update(sample), repetitions)
    return {"simulate": 1e6 * (collect - acting), "act": 1e6 * acting, "collect": 1e6 * collect, "update": 1e3 * update}


def growth(sizes: Sequence[int], values: Sequence[float]) -> float:
    """The exponent of a power law through the last three points."""
    return float(np.polyfit(np.log(sizes[-3:]), np.log(np.maximum(values[-3:], 1e-9)), 1)[0])


def replay_memory(size: Size, n_episodes: int) -> tuple[float, float]:
    """Megabytes that the header announces for so many episodes, and those that the process really grew by."""
    spec = make_env(size, 1).spec
    gc.collect()
    before = _resident()
    settings = {"batch_episodes": BATCH_EPISODES, "buffer_episodes": n_episodes, "updates_per_episode": 1.0}
    buffer = UniformReplay(spec, {}, 0, **settings)
    for x in buffer._storage.tensors().values():
        x.fill_(1)  # memory is given when it is written
    grown = _resident() - before
    return buffer._storage.n_bytes / 1e6, grown / 1e6


def _resident() -> int:
    if sys.platform.startswith("linux"):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--axes", nargs="*", default=list(AXES), choices=list(AXES))
    parser.add_argument("--output", type=Path, default=Path(f"results/scaling/{datetime.now():%Y%m%d-%H%M%S}"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    announced, grown = replay_memory(Size(), 2000)  # first, while the process has no memory to spare
    reuse_large_blocks()
    arguments.output.mkdir(parents=True)
    found: dict[str, list[dict[str, float]]] = {}
    for axis in arguments.axes:
        found[axis] = []
        for value in AXES[axis]:
            found[axis].append(measure(replace(Size(), **{axis: value}), arguments.repetitions))
            print(axis, value, {name: round(x, 1) for name, x in found[axis][-1].items()}, flush=True)
    write(found, arguments.output, f"Replay of 2,000 episodes: {announced:.1f} MB announced, {grown:.1f} MB measured.")
    print(f"written to {arguments.output}")


def write(found: dict[str, list[dict[str, float]]], folder: Path, note: str) -> None:
    """The tables and the picture."""
    lines = []
    with (folder / "scaling.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["axis", "value", *PARTS])
        for axis, rows in found.items():
            lines += [f"| {axis} | simulate µs | act µs | collect µs | update ms |", "|---|---|---|---|---|"]
            for value, row in zip(AXES[axis], rows, strict=True):
                table.writerow([axis, value, *(row[part] for part in PARTS)])
                lines.append(f"| {value} | " + " | ".join(f"{row[part]:.1f}" for part in PARTS) + " |")
            exponents = [growth(AXES[axis], [row[part] for row in rows]) for part in PARTS]
            lines += ["| growth | " + " | ".join(f"^{x:.2f}" for x in exponents) + " |", ""]
    (folder / "scaling.md").write_text("\n".join([*lines, note, ""]), encoding="utf-8")
    draw(found, folder / "scaling.png")


def draw(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Time against size, one panel per axis."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(found), figsize=(3.2 * len(found), 3.4), squeeze=False, sharey=True, layout="constrained"
    )
    for panel, (axis, rows) in zip(panels[0], found.items(), strict=True):
        for part, unit in (("simulate", "µs a step"), ("act", "µs a step"), ("update", "ms an update")):
            panel.plot(AXES[axis], [row[part] for row in rows], marker="o", label=f"{part}, {unit}")
        panel.set(xscale="log", yscale="log", xlabel=axis)
        panel.set_xticks(AXES[axis], [str(x) for x in AXES[axis]])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
    panels[0, 0].set_yticks([3, 10, 30, 100, 300, 1000], ["3", "10", "30", "100", "300", "1000"])
    panels[0, -1].legend(fontsize="small")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


if __name__ == "__main__":
    main()
