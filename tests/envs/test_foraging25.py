"""The rules of foraging, one by one and against a simulator that is written plainly."""

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hymarl.components import rng
from hymarl.envs.contract.checker import check_environment
from hymarl.envs.contract.scene import Visible
from hymarl.envs.foraging25 import Foraging25
from hymarl.registry import ConfigError, build, check_settings

CONF = Path(__file__).parents[2] / "conf" / "env" / "foraging25.yaml"
STAY, UP, DOWN, LEFT, RIGHT, COLLECT = range(6)
STEPS = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}


def game(agents=None, n_envs=1, **changes):
    values = OmegaConf.load(CONF)
    values.pop("name")
    return build("env", "foraging25", check_settings(Foraging25, {**values, **changes}, "env"), agents, n_envs)


def every(env):
    return np.ones(env.n_envs, np.bool_)


def put(env, agents, foods):
    """Begin an episode in row 0 with agents and foods in these (row, column)."""
    cells = (env._board.cell(*np.array(places).T)[None] for places in (agents, foods))
    env._place(np.array([0]), *cells)
    return env._observe(every(env))


def play(env, *actions):
    return env.step(np.array([actions]), every(env))


def places(env):
    return [(t.row, t.column) for t in env.scene(0).things if t.shape == "disc"]


FAR = [(20, 20), (20, 22), (20, 24)]  # foods out of the way


def beside(place):
    return [(place[0] + row, place[1] + column) for row, column in STEPS.values()]


class Plain:
    """The rules again for one episode, one agent after the other, with sets instead of arrays."""

    def __init__(self, state, n_agents, *, size, foods, visible, penalty, limit):
        self.size, self.visible, self.penalty, self.limit = size, visible, penalty, limit
        rows = state.reshape(-1, 3)
        found = [(round(float(y) * (size - 1)), round(float(x) * (size - 1))) for x, y, _ in rows]
        self.agents = found[:n_agents]
        self.foods = dict(enumerate(found[n_agents:]))
        self.n_foods, self.t = foods, 0

    def step(self, actions):
        before, earned = set(self.agents), [0.0] * len(self.agents)
        for i, action in enumerate(actions):
            at = self.agents[i]
            if action == COLLECT:
                reach = sorted(f for f, place in self.foods.items() if place in beside(at))
                if reach:
                    del self.foods[reach[0]]
                    earned[i] += 1
            elif action != STAY:
                to = at[0] + STEPS[action][0], at[1] + STEPS[action][1]
                if to not in before and to not in self.agents:
                    self.agents[i] = to
                    for f in [f for f, place in self.foods.items() if place == to]:
                        del self.foods[f]
                        earned[i] += 1
        self.t += 1
        terminated = not self.foods
        truncated = not terminated and self.t == self.limit
        if truncated:
            earned = [e - self.penalty * len(self.foods) for e in earned]
        return earned, terminated, truncated

    def avail(self, i):
        result = [True]
        for to in beside(self.agents[i]):
            result.append(0 <= min(to) <= max(to) < self.size and to not in self.agents)
        return [*result, bool(set(beside(self.agents[i])) & set(self.foods.values()))]

    def show(self, place):
        return [0, 0, 0] if place is None else [place[1] / (self.size - 1), place[0] / (self.size - 1), 1]

    def obs(self, i):
        other = {0: 1, 1: 0}.get(i, i - 2)
        shown = [self.agents[i], self.agents[other] if other < len(self.agents) else None]
        for slot in range(self.n_foods):
            shown.append(self.foods.get((i + slot) % self.n_foods) if slot < self.visible else None)
        return [*chain.from_iterable(map(self.show, shown))]

    def state(self):
        return [*chain.from_iterable(map(self.show, [*self.agents, *map(self.foods.get, range(self.n_foods))]))]


def random_actions(generator, avail):
    return (generator.random(avail.shape) * avail).argmax(axis=-1)


SIZES = st.fixed_dictionaries(
    {
        "agents": st.integers(1, 5),
        "size": st.integers(4, 6),
        "foods": st.integers(1, 4),
        "visible": st.integers(1, 4),
        "limit": st.integers(1, 25),
        "seed": st.integers(0, 2**32),
        "start": st.sampled_from(["random", "fixed"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_random_episodes_equal_the_plain_simulator(drawn):
    n_agents, size, foods, limit = drawn["agents"], drawn["size"], drawn["foods"], drawn["limit"]
    visible = min(drawn["visible"], foods)
    generator = np.random.default_rng(drawn["seed"])
    env = game(
        n_agents,
        3,
        size=size,
        foods=foods,
        visible_foods=visible,
        start=drawn["start"] if size > 4 else "random",
        episode_limit=limit,
        penalty=0.25,
        reward="individual",
    )
    now = env.reset(rng.keys(drawn["seed"], rng.Stream.TEST, np.arange(3)), every(env))
    same = {"size": size, "foods": foods, "visible": visible, "penalty": 0.25, "limit": limit}
    plain = [Plain(state, n_agents, **same) for state in now.state]
    running, total, avail = every(env), np.zeros(3), now.avail.copy()
    while running.any():
        actions = random_actions(generator, avail)
        active = running & (generator.random(3) < 0.8)
        seen = env.step(actions, active)
        for row in np.flatnonzero(active):
            reward, terminated, truncated = plain[row].step(actions[row])
            assert seen.reward[row].tolist() == reward
            assert (seen.terminated[row], seen.truncated[row]) == (terminated, truncated)
            assert seen.state[row].tolist() == np.float32(plain[row].state()).tolist()
            for i in range(n_agents):
                assert seen.obs[row, i].tolist() == np.float32(plain[row].obs(i)).tolist()
                assert seen.avail[row, i].tolist() == plain[row].avail(i)
            assert len(set(plain[row].agents)) == n_agents
            share = 1 - len(plain[row].foods) / foods
            assert seen.metrics[row, 0] == pytest.approx(share)
            total[row] += sum(reward)
            running[row] = not (terminated or truncated)
            if truncated:  # the return is what the metric says
                left = len(plain[row].foods)
                assert total[row] == pytest.approx(foods * share - 0.25 * left * n_agents)
            elif terminated:
                assert total[row] == foods
        assert not any(array[~active].any() for array in seen)
        avail[active] = seen.avail[active]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(["sum", "mean", "individual"]))
def test_foods_never_come_back_and_nobody_shares_a_cell(seed, reward):
    env = game(n_envs=4, size=6, reward=reward)
    generator = np.random.default_rng(seed)
    now = env.reset(rng.keys(seed, rng.Stream.TEST, np.arange(4)), every(env))
    there, running = np.ones((4, 4), np.bool_), every(env)
    for _ in range(30):
        now = env.step(random_actions(generator, now.avail), running)
        things = now.state.reshape(4, 8, 3)
        level = things[:, 4:, 2] > 0
        assert (there | ~level)[running].all()
        there[running] = level[running]
        for row in np.flatnonzero(running):
            assert len({(x, y) for x, y, _ in things[row, :4].tolist()}) == 4
        running &= ~now.terminated


def test_sizes_and_numbers_of_the_reference():
    spec = game().spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (4, 6, 18, 24, 200)
    assert (spec.metric_names, spec.headline_metrics) == (("collected",), ("collected",))
    assert isinstance(game(), Visible)


def test_observations_written_out():
    env = game()
    now = put(env, [(0, 24), (6, 12), (12, 0), (24, 18)], [(3, 6), (12, 9), (24, 0), (18, 24)])
    agents = [[1, 0, 1], [0.5, 0.25, 1], [0, 0.5, 1], [0.75, 1, 1]]  # x, y, level
    foods = [[0.25, 0.125, 1], [0.375, 0.5, 1], [0, 1, 1], [1, 0.75, 1]]
    nothing = [0, 0, 0]
    assert now.obs[0, 0].tolist() == agents[0] + agents[1] + foods[0] + foods[1] + foods[2] + nothing
    assert now.obs[0, 1].tolist() == agents[1] + agents[0] + foods[1] + foods[2] + foods[3] + nothing
    assert now.obs[0, 2].tolist() == agents[2] + agents[0] + foods[2] + foods[3] + foods[0] + nothing
    assert now.obs[0, 3].tolist() == agents[3] + agents[1] + foods[3] + foods[0] + foods[1] + nothing
    assert now.state[0].tolist() == [*chain(*agents, *foods)]


def test_moves_in_all_directions():
    env = game()
    put(env, [(5, 5), (5, 15), (15, 5), (15, 15)], [(0, 0), *FAR])
    play(env, UP, DOWN, LEFT, RIGHT)
    assert places(env) == [(4, 5), (6, 15), (15, 4), (15, 16)]
    play(env, STAY, STAY, STAY, UP)
    assert places(env) == [(4, 5), (6, 15), (15, 4), (14, 16)]


def test_available_are_moves_to_free_cells_and_collecting_beside_food():
    env = game()
    now = put(env, [(0, 0), (0, 1), (24, 24), (1, 1)], [(1, 0), (23, 24), (10, 10), (23, 23)])
    assert now.avail[0, 0].tolist() == [True, False, True, False, False, True]  # agent 1 on the right, food below
    assert now.avail[0, 1].tolist() == [True, False, False, False, True, False]  # agents on the left and below
    assert now.avail[0, 2].tolist() == [True, True, False, True, False, True]
    assert now.avail[0, 3].tolist() == [True, False, True, True, True, True]  # the agent above, food on the left


def test_a_move_onto_a_food_takes_it():
    env = game(reward="individual")
    put(env, [(5, 5), (5, 15), (15, 5), (15, 15)], [(5, 16), *FAR])
    now = play(env, STAY, RIGHT, STAY, STAY)
    assert now.reward[0].tolist() == [0, 1, 0, 0]
    assert places(env)[1] == (5, 16)
    assert now.state[0, 12:15].tolist() == [0, 0, 0]
    assert now.obs[0, 0, 6:9].tolist() == [0, 0, 0]  # its first slot
    assert now.obs[0, 3, 9:12].tolist() == [0, 0, 0]  # agent 3 sees foods 3, 0, 1
    assert now.metrics[0, 0] == 0.25
    assert play(env, STAY, LEFT, STAY, STAY).reward[0].tolist() == [0, 0, 0, 0]
    assert play(env, STAY, RIGHT, STAY, STAY).reward[0].tolist() == [0, 0, 0, 0]  # it is gone


@pytest.mark.parametrize("food", [(4, 5), (6, 5), (5, 4), (5, 6)])
def test_collecting_takes_a_food_beside_the_agent(food):
    env = game(reward="individual")
    put(env, [(5, 5), (5, 15), (15, 5), (15, 15)], [*FAR, food])
    now = play(env, COLLECT, STAY, STAY, STAY)
    assert now.reward[0].tolist() == [1, 0, 0, 0]
    assert places(env)[0] == (5, 5)
    assert now.state[0, -3:].tolist() == [0, 0, 0]
    assert not now.avail[0, 0, COLLECT]


def test_collecting_beside_several_foods_takes_the_first():
    env = game()
    put(env, [(5, 5), (5, 15), (15, 5), (15, 15)], [(20, 20), (5, 6), (4, 5), (5, 4)])
    assert play(env, COLLECT, STAY, STAY, STAY).state[0, 12:].reshape(4, 3)[:, 2].tolist() == [1, 0, 1, 1]
    assert play(env, COLLECT, STAY, STAY, STAY).state[0, 12:].reshape(4, 3)[:, 2].tolist() == [1, 0, 0, 1]


def test_of_two_that_move_to_one_cell_the_first_moves():
    env = game()
    put(env, [(5, 5), (5, 7), (15, 5), (15, 15)], [(0, 0), *FAR])
    play(env, RIGHT, LEFT, STAY, STAY)
    assert places(env)[:2] == [(5, 6), (5, 7)]


def test_of_two_that_move_onto_one_food_the_first_takes_it():
    env = game(reward="individual")
    put(env, [(0, 0), (5, 5), (4, 6), (5, 7)], [(5, 6), *FAR])
    assert play(env, STAY, RIGHT, DOWN, LEFT).reward[0].tolist() == [0, 1, 0, 0]
    assert places(env) == [(0, 0), (5, 6), (4, 6), (5, 7)]


@pytest.mark.parametrize(
    ("first", "second", "where"),
    [(RIGHT, COLLECT, (5, 7)), (COLLECT, LEFT, (5, 6)), (COLLECT, COLLECT, (5, 7))],
)
def test_of_two_after_one_food_the_first_gets_it(first, second, where):
    env = game(reward="individual")
    put(env, [(5, 5), (5, 7), (15, 5), (15, 15)], [(5, 6), *FAR])
    assert play(env, first, second, STAY, STAY).reward[0].tolist() == [1, 0, 0, 0]
    assert places(env)[1] == where


def test_a_cell_that_was_taken_stays_blocked_for_the_step():
    """Such a move is not available; should a policy ask for it all the same, nobody swaps or follows."""
    env = game()
    put(env, [(5, 5), (5, 6), (15, 5), (15, 15)], [(0, 0), *FAR])
    play(env, RIGHT, LEFT, STAY, STAY)
    assert places(env)[:2] == [(5, 5), (5, 6)]
    play(env, LEFT, LEFT, STAY, STAY)
    assert places(env)[:2] == [(5, 4), (5, 6)]


@pytest.mark.parametrize(
    ("reward", "total"), [("sum", -5.0), ("mean", -1.25), ("individual", [-0.5, -1.5, -1.5, -1.5])]
)
def test_foods_left_at_the_limit_cost_every_agent(reward, total):
    env = game(episode_limit=3, reward=reward)
    put(env, [(5, 5), (5, 15), (15, 5), (15, 15)], [(5, 6), *FAR])
    for _ in range(2):
        now = play(env, STAY, STAY, STAY, STAY)
        assert not now.reward.any()
        assert not now.truncated.any()
    now = play(env, COLLECT, STAY, STAY, STAY)  # 1 for agent 0; three foods left: -1.5 for each
    assert now.reward[0].tolist() == total
    assert (now.terminated[0], now.truncated[0]) == (False, True)
    assert now.metrics[0, 0] == 0.25


@pytest.mark.parametrize(("reward", "last"), [("sum", 1.0), ("mean", 0.25)])
def test_the_last_food_terminates_also_at_the_limit(reward, last):
    env = game(agents=4, foods=1, visible_foods=1, episode_limit=1, reward=reward)
    put(env, [(5, 5), (5, 15), (15, 5), (15, 15)], [(5, 6)])
    now = play(env, COLLECT, STAY, STAY, STAY)
    assert (now.reward[0], now.terminated[0], now.truncated[0]) == (last, True, False)
    assert now.metrics[0, 0] == 1


def test_random_starts_differ_and_use_every_cell():
    env = game(n_envs=400, size=4)
    now = env.reset(rng.keys(0, rng.Stream.TEST, np.arange(400)), every(env))
    cells = (now.state.reshape(400, 8, 3)[..., :2] * 3).round() @ [1, 4]
    assert all(len(set(row)) == 8 for row in cells.tolist())
    counts = np.stack([(cells == cell).sum(axis=0) for cell in range(16)])  # cells things: 25 each in the mean
    assert counts.min() > 5
    assert counts.max() < 50


def test_fixed_start_is_the_same_for_every_seed():
    env = game(n_envs=2, start="fixed")
    now = env.reset(np.array([1, 2], np.uint64), every(env))
    corners = [[0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1]]
    inner = [[0.25, 0.25, 1], [0.75, 0.25, 1], [0.75, 0.75, 1], [0.25, 0.75, 1]]
    assert now.state[0].tolist() == now.state[1].tolist() == [*chain(*corners, *inner)]
    three = game(agents=3, start="fixed", size=5, foods=2, visible_foods=1)
    now = three.reset(np.zeros(1, np.uint64), every(three))
    assert now.state[0].reshape(5, 3)[:, :2].tolist() == [[0, 0], [1, 0.25], [0.5, 1], [0.25, 0.25], [0.75, 0.75]]


def test_a_single_agent_sees_no_neighbor():
    env = game(agents=1, visible_foods=4)
    now = put(env, [(6, 12)], [(3, 6), (12, 9), (24, 0), (18, 24)])
    assert now.obs[0, 0, :6].tolist() == [0.5, 0.25, 1, 0, 0, 0]
    assert now.obs[0, 0, 15:].tolist() == [1, 0.75, 1]


def test_a_new_episode_leaves_nothing_of_the_last():
    env = game(size=4)
    put(env, [(0, 0), (0, 1), (0, 2), (0, 3)], [(1, 0), (1, 1), (1, 2), (1, 3)])
    play(env, DOWN, COLLECT, STAY, STAY)
    now = put(env, [(3, 0), (3, 1), (3, 2), (3, 3)], [(0, 0), (0, 1), (0, 2), (0, 3)])
    assert now.avail[0, 0].tolist() == [True, True, False, False, False, False]
    play(env, UP, UP, UP, UP)
    assert places(env) == [(2, 0), (2, 1), (2, 2), (2, 3)]
    play(env, UP, UP, UP, UP)
    now = play(env, UP, COLLECT, COLLECT, COLLECT)
    assert (now.reward[0], now.terminated[0]) == (4, True)


def test_the_scene_shows_what_is_there():
    env = game(n_envs=2)
    env.reset(np.array([1, 2], np.uint64), every(env))
    put(env, [(5, 5), (5, 15), (15, 5), (15, 15)], [(5, 6), *FAR])
    play_two = np.array([[COLLECT, STAY, STAY, UP], [STAY] * 4])
    env.step(play_two, every(env))
    scene = env.scene(0)
    assert (scene.height, scene.width, scene.caption) == (25, 25, "step 1, 3 of 4 foods left")
    assert [(t.row, t.column, t.label) for t in scene.things if t.shape == "square"] == [
        (20, 20, "1"),
        (20, 22, "2"),
        (20, 24, "3"),
    ]
    assert places(env) == [(5, 5), (5, 15), (15, 5), (14, 15)]
    assert len(env.scene(1).things) == 8


@pytest.mark.parametrize("start", ["random", "fixed"])
@pytest.mark.parametrize("reward", ["sum", "individual"])
def test_the_contract_is_kept(start, reward):
    check_environment(game(n_envs=3, start=start, reward=reward, episode_limit=40), n_episodes=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 0}, "agents must be at least 1, got 0"),
        ({"size": 1}, "size must be at least 2, got 1"),
        ({"size": 9_999, "foods": 90_000_000}, "games played side by side would take"),
        ({"foods": 0}, "foods must be at least 1"),
        ({"episode_limit": 0}, "episode_limit must be at least 1"),
        ({"visible_foods": 0}, "visible_foods must be at least 1"),
        ({"visible_foods": 5}, "visible_foods=5 must not be above foods=4"),
        ({"penalty": float("inf")}, "penalty must be at most 1,000,000,000, got inf"),
        ({"size": 2}, "4 agents and 4 foods do not fit on 2×2 cells"),
        ({"size": 3, "start": "fixed"}, "start=fixed has no room for 4 agents and 4 foods on 3×3 cells"),
        ({"agents": 60, "start": "fixed"}, "start=fixed has no room for 60 agents"),
        ({"start": "corner"}, "start=corner is not a choice"),
    ],
)
def test_what_does_not_fit_is_explained(changes, message):
    with pytest.raises(ConfigError, match=message):
        game(**changes)
