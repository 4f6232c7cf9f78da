"""A small random environment whose episodes have different lengths, and which fails on command; for worker tests."""

import ctypes
import multiprocessing
import os
import subprocess
import sys
import time
from signal import SIGKILL

import numpy as np

from hymarl.components import rng
from hymarl.components.spec import EnvSpec, TimeStep

MOVE, KILL, HANG, RAISE, EXIT, FREEZE = range(6)


class Walk:
    """Agents push a point, noise does the rest; only MOVE is available, the other actions are what goes wrong."""

    def __init__(self, n_envs: int, limit: int = 8, helper: str = "") -> None:  # helper: start another process
        self.n_envs = n_envs
        self.spec = EnvSpec(2, 6, 4, 3, limit, metric_names=("position", "helper_pid", "helper_sees_torch"))
        self.keys = np.zeros(n_envs, np.uint64)
        self.t = np.zeros(n_envs, np.int64)
        self.position = np.zeros(n_envs)
        self.helper, self.abandons = None, helper == "abandoned process"
        if helper == "program":
            self.helper = subprocess.Popen(["sleep", "60"])
        elif helper:
            self.helper = multiprocessing.get_context("fork").Process(target=time.sleep, args=[60])
            self.helper.start()

    def reset(self, seeds, where):
        self.keys[where], self.t[where], self.position[where] = seeds[where], 0, 0.0
        return self.observe(where)

    def step(self, actions, active):
        for action in actions[active].ravel():
            _go_wrong(action)
        noise = rng.uniform(rng.draw(self.keys, self.t))
        self.t[active] += 1
        self.position[active] += noise[active]
        out = self.observe(active)
        out.reward[active] = self.position[active]
        out.terminated[:] = active & (self.position > 3)
        out.truncated[:] = active & ~out.terminated & (self.t == self.spec.episode_limit)
        out.metrics[active, 0] = self.position[active]
        if self.helper:
            out.metrics[active, 1:] = self.helper.pid, "torch" in sys.modules
        return out

    def close(self):
        if self.helper and not self.abandons:
            self.helper.kill()
            self.helper.wait() if isinstance(self.helper, subprocess.Popen) else self.helper.join()

    def observe(self, where):
        out = TimeStep.zeros(self.spec, self.n_envs)
        out.state[where] = np.stack([self.position, self.t, self.position * 2], axis=1)[where]
        out.obs[where] = rng.uniform(rng.draw(self.keys[:, None], np.arange(8))).reshape(-1, 2, 4)[where]
        out.avail[where, :, MOVE] = True
        return out


def _go_wrong(action: int) -> None:
    if action == KILL:
        os.kill(os.getpid(), SIGKILL)
    elif action == HANG:
        time.sleep(60)
    elif action == RAISE:
        raise RuntimeError("a wheel came off")
    elif action == EXIT:
        os.write(2, b"the game server said no\n")
        os._exit(3)
    elif action == FREEZE:
        ctypes.PyDLL(None).sleep(60)  # holds the interpreter's lock
