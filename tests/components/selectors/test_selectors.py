"""What every selector owes, and what each of them does."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymarl import registry
from hymarl.components.rng import Stream, draw, keys, uniform
from hymarl.components.selectors.base import Moment, greedy_actions, nth_available
from hymarl.components.spec import EnvSpec

NAMES = registry.names("selector")
KEY = keys(0, Stream.EXPLORATION, 0)


def situation(n_envs, n_agents=3, n_actions=5, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n_envs, n_agents, n_actions)).astype(np.float32)
    avail = rng.random(scores.shape) < 0.5
    np.put_along_axis(avail, rng.integers(n_actions, size=(n_envs, n_agents, 1)), True, axis=-1)
    return scores, avail, keys(seed, Stream.EXPLORATION, np.arange(n_envs))


SPEC = EnvSpec(n_agents=3, n_actions=5, obs_dim=1, state_dim=1, episode_limit=60)


@pytest.fixture(scope="session")
def made(component):
    """A selector as its YAML file says, in the situations below; one that asks for it is told how large they are."""

    def make(name):
        offered, asked = {"spec": SPEC, "needs": ("log_prob",)}, registry.objects(registry.find("selector", name))
        return component("selector", name, *(offered[part] for part in asked))

    return make


def choose(selector, scores, avail, episode_keys, t, steps):
    actions, extras = selector.select(scores, avail, Moment(episode_keys, t, steps))
    assert set(extras) == set(selector.extras)
    for name, values in extras.items():  # what the runner stores
        assert values.shape == (len(scores), *selector.extras[name].shape)
    return actions


@pytest.fixture(scope="session")
def epsilon_greedy(component):
    def make(start, finish=None, needs=(), **changes):
        finish = start if finish is None else finish
        return component("selector", "epsilon_greedy", SPEC, needs, start=start, finish=finish, **changes)

    return make


# Every selector


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 50), st.integers(0, 10**5))
def test_an_unavailable_action_is_never_chosen(made, name, seed, n_envs, t, steps):
    scores, avail, episode_keys = situation(n_envs, seed=seed)
    actions = choose(made(name), np.where(avail, scores, 1e6), avail, episode_keys, t, steps)
    assert actions.shape == (n_envs, 3)
    assert actions.dtype == np.int64
    assert np.take_along_axis(avail, actions[..., None], axis=-1).all()


@pytest.mark.parametrize("name", NAMES)
@given(st.integers(0, 10**6), st.integers(0, 50), st.permutations(range(6)), st.integers(1, 6))
def test_the_choice_does_not_depend_on_the_rest_of_the_batch(made, name, seed, t, order, n):
    selector = made(name)
    scores, avail, episode_keys = situation(6, seed=seed)
    everybody = choose(selector, scores, avail, episode_keys, t, 20_000)
    some = list(order[:n])
    assert (choose(selector, scores[some], avail[some], episode_keys[some], t, 20_000) == everybody[some]).all()


@pytest.mark.parametrize("name", NAMES)
def test_the_names_of_the_metrics_are_announced(made, name):
    selector = made(name)
    assert tuple(selector.metrics(100)) == selector.metric_names


# Greedy


def test_greedy_is_the_best_available_action_and_the_first_of_equals():
    scores = np.array([[[5, 1, 2], [1, 3, 3]], [[-1, -2, -3], [0, 0, 9]]], np.float32)
    avail = np.array([[[0, 1, 1], [1, 1, 1]], [[0, 0, 1], [1, 1, 0]]], bool)
    assert greedy_actions(scores, avail).tolist() == [[2, 1], [2, 0]]


def test_greedy_selector_ignores_key_and_time(component):
    scores, avail, episode_keys = situation(50)
    greedy = component("selector", "greedy")
    actions = choose(greedy, scores, avail, episode_keys, 0, 0)
    assert (actions == greedy_actions(scores, avail)).all()
    assert (actions == choose(greedy, scores, avail, episode_keys + np.uint64(1), 3, 10**6)).all()


# Epsilon-greedy


def test_without_epsilon_it_is_greedy(epsilon_greedy):
    scores, avail, episode_keys = situation(200)
    assert (choose(epsilon_greedy(0.0), scores, avail, episode_keys, 3, 0) == greedy_actions(scores, avail)).all()


@pytest.mark.parametrize("n_envs", [1, 40])
@pytest.mark.parametrize("t", [0, 7])
def test_two_draws_per_decision_say_whether_and_which(epsilon_greedy, n_envs, t):
    scores, avail, episode_keys = situation(n_envs)
    chances = uniform(draw(episode_keys[:, None], 2 * (t * 3 + np.arange(6) // 2) + np.arange(6) % 2))  # B 2A
    explored = nth_available(avail, chances[:, 1::2])
    wanted = np.where(chances[:, ::2] < 0.4, explored, greedy_actions(scores, avail))
    assert (choose(epsilon_greedy(0.4), scores, avail, episode_keys, t, 0) == wanted).all()


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_the_probability_of_an_action_is_stored_where_the_learner_needs_it(epsilon_greedy, epsilon):
    scores, avail, episode_keys = situation(40)
    moment, greedy = Moment(episode_keys, 3, 0), greedy_actions(scores, avail)
    actions, extras = epsilon_greedy(epsilon, needs=("log_prob",)).select(scores, avail, moment)
    plain, nothing = epsilon_greedy(epsilon).select(scores, avail, moment)
    assert (actions == plain).all()
    assert dict(nothing) == {}
    for b, a in np.ndindex(actions.shape):
        wanted = epsilon / avail[b, a].sum() + (1 - epsilon) * (actions[b, a] == greedy[b, a])
        assert extras["log_prob"][b, a] == pytest.approx(np.log(wanted))


def test_a_team_explores_together_or_not_at_all(epsilon_greedy):
    n = 20_000
    scores, avail = np.tile(np.arange(10, dtype=np.float32), (n, 3, 1)), np.ones((n, 3, 10), bool)
    episode_keys = keys(1, Stream.EXPLORATION, np.arange(n))
    together = choose(epsilon_greedy(0.3, explore="team"), scores, avail, episode_keys, 5, 0)
    alone = choose(epsilon_greedy(0.3), scores, avail, episode_keys, 5, 0)
    random = uniform(draw(episode_keys, 2 * 5 * 3)) < 0.3  # the first agent's draw is the team's
    assert (together[~random] == 9).all()
    assert abs((together[random] != 9).mean() - 0.9) < 0.02
    assert (together[:, 0] == alone[:, 0]).all()
    a, b = together[random][:, :2].T  # which action is up to each of them
    assert abs((a == b).mean() - 0.1) < 0.02


def test_agents_of_a_team_that_explores_together_have_no_probabilities_of_their_own(epsilon_greedy):
    with pytest.raises(registry.ConfigError, match="with explore=team the agents' actions are not independent"):
        epsilon_greedy(0.3, needs=("log_prob",), explore="team")


def test_arrays_that_do_not_fit_are_refused(epsilon_greedy):
    scores, avail, episode_keys = situation(4)
    for wrong in ((scores[:3], avail, episode_keys), (scores, avail[..., 1:], episode_keys), (scores, avail, KEY)):
        with pytest.raises(ValueError, match="do not fit together"):
            choose(epsilon_greedy(0.5), *wrong, 0, 0)


@pytest.mark.parametrize("epsilon", [0.05, 0.5])
def test_actions_are_random_with_the_frequency_of_epsilon(epsilon_greedy, epsilon):
    n = 20_000
    scores = np.tile(np.arange(10, dtype=np.float32), (n, 2, 1))  # greedy is action 9
    avail = np.ones(scores.shape, bool)
    actions = choose(epsilon_greedy(epsilon), scores, avail, keys(1, Stream.EXPLORATION, np.arange(n)), 5, 0)
    p = epsilon * 9 / 10  # a random action is the greedy one in one of ten cases
    assert abs((actions != 9).mean() - p) < 4 * np.sqrt(p * (1 - p) / actions.size)


def test_exploring_is_uniform_over_what_is_available(epsilon_greedy):
    n = 30_000
    scores = np.zeros((n, 2, 5), np.float32)
    avail = np.tile(np.array([[1, 0, 1, 0, 1], [0, 1, 1, 1, 1]], bool), (n, 1, 1))
    actions = choose(epsilon_greedy(1.0), scores, avail, keys(1, Stream.EXPLORATION, np.arange(n)), 0, 0)
    for agent, available in enumerate(([0, 2, 4], [1, 2, 3, 4])):
        count = np.bincount(actions[:, agent], minlength=5)[available]
        expected = n / len(available)
        chi_square = ((count - expected) ** 2 / expected).sum()  # 2 and 3 degrees of freedom: P(> 22) < 0.0001
        assert count.sum() == n
        assert chi_square < 22


def test_agents_times_and_episodes_explore_independently(epsilon_greedy):
    n, selector = 20_000, epsilon_greedy(1.0)
    scores, avail = np.zeros((n, 2, 3), np.float32), np.ones((n, 2, 3), bool)
    episode_keys = keys(1, Stream.EXPLORATION, np.arange(n))
    a, b = (choose(selector, scores, avail, episode_keys, t, 0) for t in (0, 1))
    for x, y in ((a[:, 0], a[:, 1]), (a[:, 0], b[:, 0]), (a[:, 1], b[:, 0]), (a[1:, 0], a[:-1, 0])):
        p, standard_error = (x == y).mean(), np.sqrt(2 / 9 / n)
        assert abs(p - 1 / 3) < 4 * standard_error


def test_whether_and_what_to_explore_are_independent(epsilon_greedy):
    n = 40_000
    scores, avail = np.tile(np.array([1, 0, 0, 0], np.float32), (n, 1, 1)), np.ones((n, 1, 4), bool)
    actions = choose(epsilon_greedy(0.2), scores, avail, keys(2, Stream.EXPLORATION, np.arange(n)), 0, 0)
    count = np.bincount(actions[:, 0], minlength=4)[1:]
    assert (np.abs(count - n * 0.05) < 4 * np.sqrt(n * 0.05 * 0.95)).all()


@pytest.mark.parametrize(
    ("schedule", "half"), [("linear", 0.505), ("exponential", 0.1)]
)  # (1 + 0.01) / 2 and sqrt(1 * 0.01)
def test_epsilon_falls_with_the_training_step(epsilon_greedy, schedule, half):
    selector = epsilon_greedy(1.0, 0.01, schedule=schedule, anneal_steps=100)
    assert [selector.epsilon(step) for step in (0, 50, 100, 10**6)] == pytest.approx([1.0, half, 0.01, 0.01])
    assert selector.metrics(50) == {"epsilon": pytest.approx(half)}


def test_select_uses_epsilon_at_the_given_step(epsilon_greedy):
    scores, avail, episode_keys = situation(300)
    selector = epsilon_greedy(1.0, 0.0, schedule="linear", anneal_steps=100)
    greedy = greedy_actions(scores, avail)
    differ = [(choose(selector, scores, avail, episode_keys, 0, step) != greedy).mean() for step in (0, 50, 100)]
    assert differ[0] > differ[1] > differ[2] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"start": 1.1}, "start must be at most 1, got 1.1"),
        ({"start": 0.5, "finish": -0.1}, "finish must be at least 0, got -0.1"),
        (
            {"start": 1.0, "finish": 0.0, "schedule": "exponential"},
            "with schedule=exponential start and finish must be at least 1e-09, got 1.0 and 0.0; schedule=linear",
        ),
        ({"start": 1.0, "anneal_steps": -1}, "anneal_steps must be at least 0"),
    ],
)
def test_impossible_settings_are_refused(epsilon_greedy, changes, message):
    with pytest.raises(registry.ConfigError, match=message):
        epsilon_greedy(**changes)


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any), st.floats(0, 1, exclude_max=True))
def test_nth_available_is_the_action_at_that_place_of_the_available_ones(avail, position):
    available = [action for action, free in enumerate(avail) if free]
    chosen = nth_available(np.array([[avail]]), np.array([[position]]))
    assert chosen.tolist() == [[available[int(position * len(available))]]]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 7, 49, 128, 1000])
def test_nth_available_reaches_the_last_action_and_not_beyond(n):
    avail = np.zeros((1, 1, n + 1), bool)
    avail[..., :n] = True
    assert nth_available(avail, np.array([[1 - 2**-53]])).item() == n - 1
    assert nth_available(avail, np.array([[0.0]])).item() == 0


def test_softmax_samples_in_proportion_to_the_exponentials(component):
    selector, n = component("selector", "softmax", SPEC, temperature=2.0), 20_000
    scores = np.tile(np.array([1.0, 3.0, 9.0, -2.0, 0.0], np.float32), (n, 3, 1))
    avail = np.ones(scores.shape, np.bool_)
    avail[:, :, 2] = False
    actions, extras = selector.select(scores, avail, Moment(keys(1, Stream.EXPLORATION, np.arange(n)), 4, 0))
    weights = np.exp(np.array([0.5, 1.5, -np.inf, -1.0, 0.0]))
    wanted = weights / weights.sum()
    for agent in range(3):
        found = np.bincount(actions[:, agent], minlength=5) / n
        assert np.abs(found - wanted).max() < 5 * 0.5 / n**0.5
    assert np.allclose(extras["log_prob"], np.log(wanted.clip(1e-30))[actions], atol=1e-6)
    assert abs(np.corrcoef(actions[:, 0], actions[:, 1])[0, 1]) < 0.04  # agents draw on their own
