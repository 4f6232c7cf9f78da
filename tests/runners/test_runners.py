"""Runners: every episode is a function of its number, whatever is played beside it and whatever breaks."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hymarl import registry
from hymarl.components import rng
from hymarl.components.episode import Column, EpisodeBatch
from hymarl.components.rng import Stream
from hymarl.policies.base import Policy
from hymarl.policies.learned import LearnedPolicy
from hymarl.runners.base import TooManyFailures

SEED, STREAM = 3, Stream.TRAINING


def key(number):
    return int(rng.keys(SEED, STREAM, number)[0])


class Explorer(Policy):
    """Random available actions, a function of the episode's key, the time and the agent; notes what it is told."""

    def __init__(self):
        self.steps, self.seen = [], []

    def act(self, obs, avail, state):
        assert avail.any(axis=-1).all()
        u = rng.uniform(rng.draw(state.keys[:, None], state.t * 2 + np.arange(2)))
        rank = np.floor(u * avail.sum(axis=-1))
        actions = (np.cumsum(avail, axis=-1) > rank[..., None]).argmax(axis=-1)
        self.steps.append(state.steps)
        self.seen.append((obs.copy(), state))
        return actions, state.after(actions)


@pytest.fixture(scope="session")
def make_runner(component, random_env):
    def make(n_envs, max_failures=0, failures=None, **env):
        def make_env(n):
            return random_env(n, failures={key(number): times for number, times in (failures or {}).items()}, **env)

        if n_envs == 1:
            return component("runner", "episode", make_env, SEED, STREAM, max_failures=max_failures)
        return component("runner", "parallel", make_env, SEED, STREAM, n_envs=n_envs, max_failures=max_failures)

    return make


@pytest.fixture(scope="session")
def learned(make_controller, component):
    def make(spec):
        torch.manual_seed(0)
        selector = component("selector", "epsilon_greedy", spec, (), start=0.3, finish=0.3)
        return LearnedPolicy(spec, make_controller(spec, "rnn"), selector)

    return make


def episodes(batch, statistics):
    """What is known of each episode by its number: its arrays up to its own end, and its statistics."""
    found = {}
    for row, number in enumerate(statistics.numbers.tolist()):
        arrays = batch.select(torch.tensor([row])).tensors()
        found[number] = [*arrays.values(), *(torch.as_tensor(x[row]) for x in statistics)]
    return found


def assert_same(a, b):
    assert a.keys() == b.keys()
    for number in a:
        assert all(torch.equal(x, y) for x, y in zip(a[number], b[number], strict=True)), number


def assert_padded(batch, spec):
    """Beyond an episode's end there are zeros and everything is available, within it there are observations."""
    batch.validate(spec)
    beyond = torch.arange(batch.obs.shape[1]) > batch.lengths[:, None]
    assert not any(x[beyond].any() for x in (batch.obs, batch.state))
    assert not any(x[beyond[:, 1:]].any() for x in (batch.actions, batch.reward, batch.terminated))
    assert batch.avail[beyond].all()
    assert batch.obs[~beyond].any(dim=-1).all()


# Contents of a batch


@pytest.mark.parametrize("n_envs", [1, 3, 10])
@pytest.mark.parametrize("individual", [False, True])
def test_batches_follow_the_rules_of_padding(make_runner, n_envs, individual):
    runner = make_runner(n_envs, individual_rewards=individual)
    for _ in range(3):  # the storage is used again and must not keep anything
        batch, _ = runner.play(Explorer(), np.arange(7))
        steps, terminated = batch.lengths, batch.terminated.any(dim=1)
        assert terminated.any()
        assert not terminated.all()
        assert batch.truncated.any(dim=1).tolist() == (~terminated).tolist()
        assert (steps[~terminated] == 5).all()
        assert_padded(batch, runner.spec)
        after_end = batch.avail[torch.arange(7), steps]  # the row after a terminal step, or the last observation
        assert after_end[terminated].all()
        assert not after_end[~terminated].all()


@pytest.mark.parametrize("n_envs", [1, 4])
@pytest.mark.parametrize("individual", [False, True])
def test_a_batch_is_what_the_environment_gave_step_by_step(make_runner, random_env, n_envs, individual):
    runner = make_runner(n_envs, individual_rewards=individual)
    batch, statistics = runner.play(Explorer(), np.arange(6))
    for number in range(6):
        env = random_env(1, individual_rewards=individual)
        keys, on = rng.keys(SEED, STREAM, number), np.ones(1, bool)
        step, total = env.reset(keys, on), 0.0
        for t in range(int(batch.lengths[number])):
            assert np.array_equal(batch.obs[number, t], step.obs[0])
            assert np.array_equal(batch.state[number, t], step.state[0])
            assert np.array_equal(batch.avail[number, t], step.avail[0])
            step = env.step(batch.actions[number, t].long().numpy()[None], on)
            assert np.array_equal(batch.reward[number, t], step.reward[0])
            assert batch.terminated[number, t].item() == step.terminated[0]
            total += step.reward[0].mean(dtype=np.float64)
        assert step.terminated[0] or step.truncated[0]
        assert np.array_equal(batch.obs[number, t + 1], step.obs[0])
        assert np.array_equal(batch.state[number, t + 1], step.state[0])
        assert statistics.returns[number] == pytest.approx(total)
        assert statistics.lengths[number] == t + 1
        assert statistics.metrics[number].tolist() == step.metrics[0].tolist()  # of the last step
        assert statistics.numbers[number] == number


# Equal episodes


@pytest.mark.parametrize("kind", ["random", "learned"])
@given(st.integers(1, 9), st.integers(1, 12))
@settings(max_examples=20)
def test_the_number_of_environments_does_not_change_the_episodes_of_a_fixed_policy(
    make_runner, learned, kind, n_envs, n_episodes
):
    def play(runner):
        policy = Explorer() if kind == "random" else learned(runner.spec)
        return episodes(*runner.play(policy, np.arange(n_episodes)))

    assert_same(play(make_runner(n_envs)), play(make_runner(1)))


def test_runners_of_every_name_play_the_same_episodes(component, random_env, learned):
    made = [component("runner", name, random_env, SEED, STREAM) for name in registry.names("runner")]
    first, *others = [episodes(*runner.play(learned(runner.spec), np.arange(16))) for runner in made]
    assert len(others) >= 1
    for other in others:
        assert_same(other, first)


def test_playing_does_not_depend_on_what_was_played_before(make_runner):
    runner = make_runner(3)
    first = episodes(*runner.play(Explorer(), np.arange(10)))
    assert list(first) == list(range(10))
    again = episodes(*runner.play(Explorer(), np.array([9, 2])))
    assert_same(again, {n: first[n] for n in (2, 9)})


def test_episodes_carry_their_keys(make_runner):
    batch, statistics = make_runner(2, max_failures=9, failures={1: [0]}).play(Explorer(), np.array([4, 1, 0]))
    assert batch.key.numpy().view(np.uint64).tolist() == [key(n) for n in statistics.numbers.tolist()]


class Noting(Explorer):
    """Adds to every episode what it did, and a number of its own."""

    extras = {  # noqa: RUF012
        "chosen": Column((2,), torch.int64, "T", padding=-7),
        "started": Column((), torch.float64, "episode"),
    }

    def act(self, obs, avail, state):
        actions, after = super().act(obs, avail, state)
        extras = {"chosen": actions * 10, "started": (state.keys % np.uint64(1000)).astype(np.float64)}
        return actions, dataclasses.replace(after, extras=extras)


@pytest.mark.parametrize("n_envs", [1, 3])
def test_what_a_policy_adds_is_stored_with_the_step_it_belongs_to(make_runner, n_envs):
    runner = make_runner(n_envs, max_failures=9, failures={2: [1], 5: [0, 0]})
    plain, _ = runner.play(Explorer(), np.arange(5))
    assert plain.extras == {}
    for _ in range(2):  # the storage is used again
        batch, statistics = runner.play(Noting(), np.arange(7))
        batch.validate(runner.spec)
        numbers = statistics.numbers.tolist()
        assert 6 <= len(numbers) <= 7
        wanted = torch.where(batch.filled[..., None], batch.actions.long() * 10, -7)
        assert torch.equal(batch.extras["chosen"], wanted)
        assert batch.extras["started"].tolist() == [key(n) % 1000 for n in numbers]


def test_episodes_depend_on_seed_and_stream(component, random_env):
    def returns(seed, stream):
        runner = component("runner", "episode", random_env, seed, stream)
        return runner.play(Explorer(), np.arange(5))[1].returns.tolist()

    assert returns(1, Stream.TRAINING) == returns(1, Stream.TRAINING)
    others = [returns(2, Stream.TRAINING), returns(1, Stream.VALIDATION), returns(1, Stream.TEST)]
    assert all(len(set(other) & set(returns(1, Stream.TRAINING))) == 0 for other in others)


def test_only_running_episodes_are_stepped(make_runner):
    runner = make_runner(5)
    batch, _ = runner.play(Explorer(), np.arange(7))  # a full wave, then two with three spare environments
    assert runner.env.n_steps == int(batch.lengths.sum())


def test_the_policy_is_told_the_keys_and_the_training_steps(make_runner):
    runner, policy = make_runner(3), Explorer()
    runner.play(policy, np.arange(2), steps=1000)
    assert policy.steps[:3] == [1000, 1003, 1006][: len(policy.steps)]
    state = policy.seen[0][1]
    assert state.keys[:2].tolist() == [key(0), key(1)]
    assert (state.last_actions == -1).all()


class Careless(Noting):
    """Gives other extra values than it declares."""

    def __init__(self, extras):
        super().__init__()
        self.given = extras

    def act(self, obs, avail, state):
        actions, after = super().act(obs, avail, state)
        return actions, dataclasses.replace(after, extras=self.given(after.extras))


@pytest.mark.parametrize(
    "given",
    [
        lambda extras: {},
        lambda extras: {**extras, "more": extras["started"]},
        lambda extras: {**extras, "chosen": extras["chosen"][:, 0]},  # as long as there are environments
    ],
)
def test_extra_values_that_were_not_declared_so_are_refused(make_runner, given):
    with pytest.raises(ValueError, match=r"Careless must give the extra columns that it declares, .*chosen"):
        make_runner(2).play(Careless(given), np.arange(2))


def test_what_does_not_fit_into_memory_is_refused_and_the_environments_are_closed(component, random_env, monkeypatch):
    made = []

    def make_env(n_envs):
        made.append(random_env(n_envs))
        return made[-1]

    one = EpisodeBatch.bytes_per_episode(random_env(1).spec)
    monkeypatch.setattr("hymarl.components.memory._available", lambda: 25 * one)
    runner = component("runner", "parallel", make_env, SEED, Stream.TRAINING, n_envs=8, workers=0, lag=3)
    runner.require_memory(25, "")
    with pytest.raises(ValueError, match=r"26 episodes of 5 steps would take .*; lower something"):
        runner.require_memory(26, "lower something")
    with pytest.raises(registry.ConfigError, match=r"32 episodes of 5 steps would take .*; lower runner.n_envs"):
        component("runner", "parallel", make_env, SEED, Stream.TRAINING, n_envs=8, workers=0, lag=4)
    assert [env.closed for env in made] == [False, True]


# Failures


EVERYTHING = range(8)


@pytest.mark.parametrize("n_envs", [1, 3, 8])
@pytest.mark.parametrize("failures", [{2: [0]}, {0: [-1]}, {0: [0], 1: [-1], 5: [1], 7: [0]}])
def test_a_failed_episode_is_played_once_more_with_equal_results(make_runner, learned, n_envs, failures):
    well, broken = make_runner(n_envs), make_runner(n_envs, max_failures=10, failures=failures)
    wanted = episodes(*well.play(learned(well.spec), np.arange(8)))
    batch, statistics = broken.play(learned(broken.spec), np.arange(8))
    batch.validate(broken.spec)
    assert_same(episodes(batch, statistics), wanted)
    assert len(broken.failures) == len(failures)


@pytest.mark.parametrize("n_envs", [1, 3, 8])
@pytest.mark.parametrize("failures", [{2: [0, 0]}, {0: [-1, 0]}, {1: [0, -1], 5: [1, 1], 6: [0], 7: [1, 0]}])
def test_an_episode_that_fails_twice_is_skipped_and_the_others_are_unharmed(make_runner, learned, n_envs, failures):
    well, broken = make_runner(n_envs), make_runner(n_envs, max_failures=10, failures=failures)
    wanted = episodes(*well.play(learned(well.spec), np.arange(8)))
    batch, statistics = broken.play(learned(broken.spec), np.arange(8))
    batch.validate(broken.spec)
    skipped = {number for number, times in failures.items() if len(times) == 2}
    assert_same(episodes(batch, statistics), {n: e for n, e in wanted.items() if n not in skipped})
    assert batch.n_episodes == 8 - len(skipped)


def test_nothing_of_a_discarded_attempt_stays(make_runner):
    class Moody(Explorer):
        """Never does the same twice, so that the second attempt may end before the first one failed."""

        def act(self, obs, avail, state):
            state = dataclasses.replace(state, keys=state.keys + np.uint64(len(self.steps)))
            return super().act(obs, avail, state)

    runner = make_runner(4, max_failures=100, failures={number: [4] for number in range(40)})
    batch, _ = runner.play(Moody(), np.arange(40))
    assert len(runner.failures) > 10
    assert (batch.lengths < 4).sum() > 10
    assert_padded(batch, runner.spec)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_when_every_episode_fails_there_are_none(make_runner, n_envs):
    runner = make_runner(n_envs, max_failures=10, failures={n: [0, 0] for n in range(n_envs)})
    batch, statistics = runner.play(Explorer(), np.arange(n_envs))
    assert batch.n_episodes == len(statistics.returns) == 0
    assert len(runner.failures) == 2 * n_envs
    batch, _ = runner.play(Explorer(), np.arange(n_envs))
    assert batch.n_episodes == n_envs


def test_a_failure_is_noted_with_environment_seed_and_action(make_runner):
    runner = make_runner(1, max_failures=10, failures={0: [-1], 1: [1]})
    batch, _ = runner.play(Explorer(), np.arange(2))
    actions = batch.actions[1, 1].tolist()
    assert runner.failures == [
        f"environment 0 (episode seed {key(0)}) failed at reset: broken on purpose",
        f"environment 0 (episode seed {key(1)}) failed given the joint action {actions}: broken on purpose",
    ]


@pytest.mark.parametrize(("max_failures", "ends"), [(3, True), (4, False)])
def test_too_many_failures_end_the_run(make_runner, max_failures, ends):
    runner = make_runner(2, max_failures, failures={0: [0], 1: [0, 0], 5: [0]})
    runner.play(Explorer(), np.arange(4))
    if ends:
        with pytest.raises(TooManyFailures, match=rf"^4 environment failures; the last: environment \d .*{key(5)}"):
            runner.play(Explorer(), np.arange(4, 8))
    else:
        assert runner.play(Explorer(), np.arange(4, 8)).batch.n_episodes == 4


def test_other_exceptions_are_not_taken_for_failures_of_an_episode(make_runner):
    class Wrong(Explorer):
        def act(self, obs, avail, state):
            raise RuntimeError("my own mistake")

    with pytest.raises(RuntimeError, match="my own mistake"):
        make_runner(2, 10).play(Wrong(), np.arange(2))


# Settings


def test_no_environment_is_refused(component, random_env):
    with pytest.raises(registry.ConfigError, match=r"n_envs must be at least 1, got 0"):
        component("runner", "parallel", random_env, SEED, STREAM, n_envs=0)


def test_workers_are_at_most_as_many_as_environments(component, random_env):
    with pytest.raises(registry.ConfigError, match="workers must be at most n_envs=2, got 3"):
        component("runner", "parallel", random_env, SEED, STREAM, n_envs=2, workers=3)


def test_closing_closes_the_environment(make_runner):
    runner = make_runner(2)
    runner.close()
    assert runner.env.closed
