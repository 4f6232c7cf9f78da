"""A game that is solved by exploring consistently: what noise in the weights finds and greedy actions do not."""

import numpy as np
import pytest
import torch

from hymarl.components.rng import Stream
from hymarl.components.spec import EnvSpec, TimeStep
from hymarl.training.evaluation import Evaluation
from hymarl.training.settings import TrainingSettings

N_STATES = 15


class Chain:
    """Left and right along 15 places from the second on, for 24 steps; 0.001 at the left end, 1 at the right end.

    Osband et al., "Deep Exploration via Bootstrapped DQN", 2016, section 5.1. The best return is 12: the right end is
    reached by the 13th step.
    """

    def __init__(self, n_envs):
        self.n_envs = n_envs
        self.spec = EnvSpec(n_agents=1, n_actions=2, obs_dim=N_STATES, state_dim=N_STATES, episode_limit=N_STATES + 9)
        self.place, self.t = np.ones(n_envs, np.int64), np.zeros(n_envs, np.int64)

    def reset(self, seeds, where):
        self.place[where], self.t[where] = 1, 0
        return self.look().only(where)

    def step(self, actions, active):
        self.place[active] = np.clip(self.place + 2 * actions[:, 0] - 1, 0, N_STATES - 1)[active]
        self.t += active
        step = self.look()
        step.reward[:] = np.select([self.place == 0, self.place == N_STATES - 1], [0.001, 1.0], 0.0)
        step.truncated[:] = self.t == self.spec.episode_limit
        return step.only(active)

    def look(self):
        step = TimeStep.zeros(self.spec, self.n_envs)
        step.state[:] = np.arange(N_STATES) <= self.place[:, None]
        step.obs[:, 0], step.avail[:] = step.state, True
        return step

    def close(self): ...


@pytest.fixture(scope="module")
def last_return(component, make_controller, make_trainer):
    """The return of the greedy policy after 300 episodes in which it was explored in this way."""

    def train(way, seed, n_episodes=300):
        runner, validation = (
            component("runner", "parallel", Chain, seed, stream, n_envs=1, max_failures=0)
            for stream in (Stream.TRAINING, Stream.VALIDATION)
        )
        spec = runner.spec
        torch.manual_seed(seed)
        controller = make_controller(spec, "mlp", {"hidden_dims": [32], "noisy": way == "layers"}, last_action=False)
        parts = component("mixer", "none", spec), component("optimizer", "adam", lr=0.003)
        learner = component("learner", "q", controller, *parts, target_interval_updates=20, gamma=0.95)
        schedule = {"start": 1.0, "finish": 0.05, "anneal_steps": n_episodes * spec.episode_limit // 2}
        selector = ("epsilon_greedy", schedule) if way in ("parameters", "epsilon") else ("greedy", {})
        runtime = (spec, ()) if selector[0] == "epsilon_greedy" else ()
        selector = component("selector", selector[0], *runtime, **selector[1])
        replay = component("replay", "uniform", spec, {}, seed, batch_episodes=16, buffer_episodes=n_episodes)
        intervals = ("log_interval_steps", "eval_interval_steps", "checkpoint_interval_steps")
        steps = n_episodes * spec.episode_limit
        settings = TrainingSettings(total_steps=steps, keep_checkpoints=1, **dict.fromkeys(intervals, steps))
        made = [runner, validation, learner, selector, replay, settings, 1]
        if way == "parameters":
            made.append(lambda *given: component("policy", "parameter_noise", *given, seed))
        trainer = make_trainer(*made)
        *_, last = (event.return_mean for event in trainer.run() if isinstance(event, Evaluation))
        trainer.close()
        return last

    return train


@pytest.mark.slow
@pytest.mark.parametrize("way", ["layers", "parameters"])
def test_noise_in_weights_finds_the_far_end_of_a_chain_where_greedy_actions_do_not(last_return, way):
    for seed in (0, 2):
        assert last_return("greedy", seed) < 0.1
        assert last_return(way, seed) == 12


@pytest.mark.slow
@pytest.mark.parametrize(("way", "n_seeds"), [("greedy", 2), ("layers", 5), ("parameters", 5), ("epsilon", 4)])
def test_on_how_many_of_five_seeds_the_right_end_is_found(last_return, way, n_seeds):
    """What docs/algorithms.md says."""
    assert sum(last_return(way, seed) == 12 for seed in range(5)) == n_seeds
