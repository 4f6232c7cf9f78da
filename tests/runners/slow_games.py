"""A single environment whose step takes time by a clock of its own; worker processes import it from here by name."""

import multiprocessing
from functools import partial

from hymarl.components.spec import EnvSpec, TimeStep
from hymarl.envs.adapters.single import SingleEnvs


class Clock:
    """What the measurement reads: time passes only in steps of environments, however busy the machine is."""

    def __init__(self):
        self.now_s = 0.0

    def perf_counter(self):
        return self.now_s


CLOCK = Clock()


class Slow:
    """A single environment whose step takes so long by the clock; it can fail."""

    def __init__(self, step_s, fails=False):
        self.spec = EnvSpec(2, 3, 1, 1, episode_limit=4)
        self.step_s, self.fails, self.t = step_s, fails, 0

    def reset(self, seed):
        self.t = 0
        return self.now()

    def step(self, actions):
        assert actions[0] != 2  # not available
        if self.fails:
            raise RuntimeError("broken")
        self.t += 1
        CLOCK.now_s += self.step_s
        return self.now()

    def close(self):
        self.spec = None

    def now(self):
        step = TimeStep.zeros(self.spec, 1)
        step.avail[:] = True
        step.avail[0, 0, 2] = False
        step.truncated[:] = self.t == self.spec.episode_limit
        return TimeStep(*(array[0] for array in step))


def make(step_s, n_envs, fails=False, only_here=False):
    if only_here and multiprocessing.parent_process():
        raise RuntimeError("one licence for one process")
    return SingleEnvs(partial(Slow, step_s, fails), n_envs)
