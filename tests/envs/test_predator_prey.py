"""The rules of the hunt, one by one and against a simulator that is written plainly."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from hymarl.components import rng
from hymarl.envs.contract.checker import check_environment
from hymarl.envs.contract.scene import Visible
from hymarl.envs.predator_prey import PredatorPrey
from hymarl.registry import ConfigError, build, check_settings

CONF = Path(__file__).parents[2] / "conf" / "env" / "predator_prey.yaml"
STAY, UP, DOWN, LEFT, RIGHT, CATCH = range(6)
STEPS = {UP: (-1, 0), DOWN: (1, 0), LEFT: (0, -1), RIGHT: (0, 1)}


def game(agents=None, n_envs=1, **changes):
    values = OmegaConf.load(CONF)
    values.pop("name")
    return build("env", "predator_prey", check_settings(PredatorPrey, {**values, **changes}, "env"), agents, n_envs)


def every(env):
    return np.ones(env.n_envs, np.bool_)


def put(predators, prey, seed=0, **changes):
    """An environment in whose only row predators and prey are in these (row, column), and what it shows."""
    env = game(len(predators), prey=len(prey), **changes)
    env.reset(np.array([seed], np.uint64), every(env))
    env._place(np.array([0]), *(env._board.cell(*np.array(places).T)[None] for places in (predators, prey)))
    return env, env._observe(every(env))


def play(env, *actions):
    return env.step(np.array([actions]), every(env))


def places(env, shape="disc"):
    """Who is where, by number."""
    return {int(t.label): (t.row, t.column) for t in env.scene(0).things if t.shape == shape}


def around(place):
    return [(place[0] + row, place[1] + column) for row, column in STEPS.values()]


class Plain:
    """The rules again for one episode, with dictionaries; randomness from the same draws."""

    def __init__(self, state, seed, n_agents, *, size, prey, catchers, pay, radius, limit):
        grid = state.reshape(size, size, 2)
        self.size, self.catchers, self.pay, self.radius, self.limit = size, catchers, pay, radius, limit
        self.counts = (np.count_nonzero(grid[..., 0]), np.count_nonzero(grid[..., 1]))
        assert self.counts == (n_agents, prey)
        self.key = rng.derive(np.array([seed], np.uint64), 2)
        self.t, self.captures, self.punishments = 0, 0, 0
        self.n_prey = prey

    def begin(self, predators, prey):
        self.predators, self.prey = dict(predators), dict(prey)

    def inside(self, place):
        return min(place) >= 0 and max(place) < self.size

    def free(self, place):
        return self.inside(place) and place not in [*self.predators.values(), *self.prey.values()]

    def step(self, actions):
        n, m = len(actions), self.n_prey
        bits = [int(rng.draw(self.key, self.t * (n + 2 * m) + i)[0]) for i in range(n + 2 * m)]
        for i in sorted(range(n), key=lambda i: bits[i]):
            if i in self.predators and actions[i] in STEPS:
                to = around(self.predators[i])[actions[i] - 1]
                if self.free(to):
                    self.predators[i] = to
        reward = 0.0
        for turn, j in enumerate(sorted(range(m), key=lambda j: bits[n + j])):
            if j not in self.prey:
                continue
            near = around(self.prey[j])
            hunters = [i for i, place in self.predators.items() if place in near and actions[i] == CATCH]
            if len(hunters) >= self.catchers:
                reward += self.pay[0]
                self.captures += 1
                del self.prey[j]
                for i in hunters:
                    del self.predators[i]
                continue
            if hunters:
                reward += self.pay[1]
                self.punishments += 1
            ways = [place for place in near if self.free(place)]
            if ways:
                self.prey[j] = ways[((bits[n + m + turn] >> 11) * 12 >> 53) % len(ways)]
        self.t += 1
        terminated = not (self.prey and self.predators)
        return reward, terminated, not terminated and self.t == self.limit

    def avail(self, i):
        if i not in self.predators:
            return [True] + [False] * 5
        near = around(self.predators[i])
        return [True, *map(self.inside, near), bool(set(near) & set(self.prey.values()))]

    def obs(self, i):
        reach = range(-self.radius, self.radius + 1)
        if i not in self.predators:
            return [0] * (2 * len(reach) ** 2)
        row, column = self.predators[i]
        return self.show([(row + r, column + c) for r in reach for c in reach])

    def state(self):
        return self.show([(row, column) for row in range(self.size) for column in range(self.size)])

    def show(self, cells):
        kinds = set(self.predators.values()), set(self.prey.values())
        return [int(cell in kind) for cell in cells for kind in kinds]


def random_actions(generator, avail, eager):
    """Random available actions; catching, where it is possible, at least with the probability ``eager``."""
    chosen = (generator.random(avail.shape) * avail).argmax(axis=-1)
    return np.where(avail[..., CATCH] & (generator.random(chosen.shape) < eager), CATCH, chosen)


SIZES = st.fixed_dictionaries(
    {
        "agents": st.integers(1, 8),
        "prey": st.integers(1, 8),
        "size": st.integers(4, 6),
        "catchers": st.integers(1, 4),
        "radius": st.integers(0, 3),
        "limit": st.integers(1, 30),
        "seed": st.integers(0, 2**32),
    }
)


@settings(max_examples=60, deadline=None)
@given(SIZES)
def test_random_episodes_equal_the_plain_simulator(drawn):
    n_agents, prey, size, limit = drawn["agents"], drawn["prey"], drawn["size"], drawn["limit"]
    catchers, radius = drawn["catchers"], drawn["radius"]
    generator = np.random.default_rng(drawn["seed"])
    env = game(
        n_agents,
        3,
        size=size,
        prey=prey,
        catchers=catchers,
        view_radius=radius,
        episode_limit=limit,
        capture_reward=5.0,
        punishment=-1.5,
    )
    seeds = rng.keys(drawn["seed"], rng.Stream.TEST, np.arange(3))
    now = env.reset(seeds, every(env))
    same = {"size": size, "prey": prey, "catchers": catchers, "pay": (5.0, -1.5), "radius": radius, "limit": limit}
    plain = [Plain(now.state[row], seeds[row], n_agents, **same) for row in range(3)]
    for row, episode in enumerate(plain):
        things = env.scene(row).things
        kinds = [{int(t.label): (t.row, t.column) for t in things if t.shape == shape} for shape in ("disc", "square")]
        episode.begin(*kinds)
    running, total, avail = every(env), np.zeros(3), now.avail.copy()
    while running.any():
        actions = random_actions(generator, avail, 0.5)
        active = running & (generator.random(3) < 0.8)
        now = env.step(actions, active)
        for row in np.flatnonzero(active):
            episode = plain[row]
            reward, terminated, truncated = episode.step(actions[row].tolist())
            assert now.reward[row] == reward
            assert (now.terminated[row], now.truncated[row]) == (terminated, truncated)
            assert now.state[row].tolist() == episode.state()
            for i in range(n_agents):
                assert now.obs[row, i].tolist() == episode.obs(i)
                assert now.avail[row, i].tolist() == episode.avail(i)
            assert now.metrics[row].tolist() == [episode.captures, episode.punishments]
            total[row] += reward
            assert total[row] == 5.0 * episode.captures - 1.5 * episode.punishments
            running[row] = not (terminated or truncated)
        assert not any(array[~active].any() for array in now)
        avail[active] = now.avail[active]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32))
def test_nobody_shares_a_cell_or_comes_back(seed):
    env = game(n_envs=4, size=6)
    generator = np.random.default_rng(seed)
    now = env.reset(rng.keys(seed, rng.Stream.TEST, np.arange(4)), every(env))
    running, before = every(env), np.array([[8, 8]] * 4)
    for _ in range(60):
        now = env.step(random_actions(generator, now.avail, 0.9), running)
        grid = now.state.reshape(4, 36, 2)
        there = grid.sum(axis=1)
        assert (grid.sum(axis=2) <= 1).all()  # one at most in a cell
        assert (there <= before)[running].all()
        assert (8 - there[:, 1] == now.metrics[:, 0])[running].all()
        assert (2 * (8 - there[:, 1]) <= 8 - there[:, 0])[running].all()  # two at least for each prey
        before[running] = there[running]
        running &= ~(now.terminated | now.truncated)


def test_sizes_and_numbers_of_the_papers():
    env = game()
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (8, 6, 50, 200, 200)
    assert spec.metric_names == ("captures", "punishments")
    assert spec.headline_metrics == ("captures",)
    assert isinstance(env, Visible)
    now = env.reset(np.zeros(1, np.uint64), every(env))
    assert now.state.reshape(100, 2).sum(axis=0).tolist() == [8, 8]


def test_observations_written_out():
    _, now = put([(0, 1), (1, 3), (4, 4)], [(2, 0), (0, 3), (9, 9)], view_radius=2)
    # Rows -2 to 2 and columns -1 to 3: the first two rows and the first column are off the grid.
    predators = [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
    ]
    prey = [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 0, 0, 0],
        [0, 1, 0, 0, 0],
    ]
    assert now.obs[0, 0].reshape(5, 5, 2).transpose(2, 0, 1).tolist() == [predators, prey]
    assert now.obs[0, 2].sum() == 1  # sees itself only; agent 1 is three rows away
    assert now.obs[0, 2].reshape(5, 5, 2)[2, 2].tolist() == [1, 0]
    state = now.state[0].reshape(10, 10, 2)
    assert np.argwhere(state[..., 0]).tolist() == [[0, 1], [1, 3], [4, 4]]
    assert np.argwhere(state[..., 1]).tolist() == [[0, 3], [2, 0], [9, 9]]


def test_available_are_moves_on_the_grid_and_catching_beside_prey():
    _, now = put([(0, 0), (9, 9), (5, 5), (5, 6)], [(0, 1), (4, 4)])
    assert now.avail[0, 0].tolist() == [True, False, True, False, True, True]  # a move into the prey may be tried
    assert now.avail[0, 1].tolist() == [True, True, False, True, False, False]
    assert now.avail[0, 2].tolist() == [True, True, True, True, True, False]  # prey on the diagonal is out of reach
    assert now.avail[0, 3].tolist() == [True, True, True, True, True, False]


def test_moves_in_all_directions_and_into_taken_cells():
    env, _ = put([(5, 5), (5, 7), (7, 5), (7, 7), (0, 0), (0, 1)], [(9, 9)])
    play(env, UP, DOWN, LEFT, RIGHT, RIGHT, STAY)
    assert list(places(env).values()) == [(4, 5), (6, 7), (7, 4), (7, 8), (0, 0), (0, 1)]


def test_prey_blocks_a_move():
    env, _ = put([(0, 1), (1, 0), (0, 2)], [(0, 0)])
    play(env, LEFT, UP, STAY)
    assert list(places(env).values()) == [(0, 1), (1, 0), (0, 2)]


def test_the_random_order_of_moves_decides():
    """Into the same cell goes the first; one follows another only if that one moves before it."""
    same, following = set(), set()
    for seed in range(40):
        env, _ = put([(5, 5), (5, 7)], [(0, 0)], seed=seed)
        play(env, RIGHT, LEFT)
        same.add(tuple(places(env).values()))
        env, _ = put([(5, 5), (5, 6)], [(0, 0)], seed=seed)
        play(env, RIGHT, RIGHT)
        following.add(tuple(places(env).values()))
    assert same == {((5, 6), (5, 7)), ((5, 5), (5, 6))}
    assert following == {((5, 6), (5, 7)), ((5, 5), (5, 7))}


def test_swapping_is_impossible():
    for seed in range(10):
        env, _ = put([(5, 5), (5, 6)], [(0, 0)], seed=seed)
        play(env, RIGHT, LEFT)
        assert list(places(env).values()) == [(5, 5), (5, 6)]


def test_prey_moves_to_each_free_cell_equally_often_and_rests_only_when_it_cannot():
    env = game(2, 400, prey=1)
    env.reset(rng.keys(0, rng.Stream.TEST, np.arange(400)), every(env))
    cells = env._board.cell(np.array([0, 4, 5]), np.array([0, 5, 5]))
    env._place(np.arange(400), *np.split(np.tile(cells, (400, 1)), [2], axis=1))
    now = env.step(np.full((400, 2), STAY), every(env))
    counts = now.state[:, 1::2].sum(axis=0).reshape(10, 10)
    assert np.argwhere(counts).tolist() == [[5, 4], [5, 6], [6, 5]]
    assert counts[counts > 0].min() > 95  # 133 expected, standard deviation 9.4
    env, _ = put([(0, 1), (1, 0)], [(0, 0)])
    play(env, STAY, STAY)
    assert places(env, "square") == {0: (0, 0)}


@pytest.mark.parametrize("n", [2, 3, 4])
def test_all_who_catch_a_prey_leave_with_it(n):
    env, _ = put([*around((5, 5))[:n], (9, 9)], [(5, 5), (0, 0)], punishment=-2.0)
    now = play(env, *[CATCH] * n, STAY)
    assert now.reward[0] == 10
    assert now.metrics[0].tolist() == [1, 0]
    assert list(places(env)) == [n]
    assert list(places(env, "square")) == [1]
    assert not now.obs[0, :n].any()
    assert now.avail[0, :n].tolist() == [[True] + [False] * 5] * n
    assert now.avail[0, n].tolist() == [True, True, False, True, False, False]
    assert now.state[0].reshape(100, 2).sum(axis=0).tolist() == [1, 1]
    assert not now.terminated[0]
    play(env, *[STAY] * n, UP)
    assert places(env) == {n: (8, 9)}


def test_one_who_does_not_try_takes_no_part():
    env, _ = put([(4, 5), (6, 5), (5, 4)], [(5, 5), (0, 0)], punishment=-2.0)
    assert play(env, CATCH, STAY, CATCH).reward[0] == 10
    assert places(env) == {1: (6, 5)}


@pytest.mark.parametrize(("punishment", "reward"), [(0.0, 0), (-2.0, -2)])
def test_trying_alone_is_punished(punishment, reward):
    env, _ = put([(4, 5), (6, 5)], [(5, 5)], punishment=punishment)
    now = play(env, CATCH, STAY)
    assert now.reward[0] == reward
    assert now.metrics[0].tolist() == [0, 1]
    assert list(places(env).values()) == [(4, 5), (6, 5)]
    assert places(env, "square")[0] in [(5, 4), (5, 6)]


def test_the_punishment_is_for_each_prey_and_not_for_each_predator():
    """The corners keep the prey from moving away before their turns."""
    env, _ = put([(0, 1), (1, 0)], [(0, 0), (0, 2)], size=3, punishment=-2.0)
    now = play(env, CATCH, STAY)  # agent 0 has prey on both sides
    assert (now.reward[0], now.metrics[0].tolist()) == (-4, [0, 2])
    env, _ = put([(0, 1), (1, 0)], [(0, 0)], punishment=-2.0, catchers=3)
    now = play(env, CATCH, CATCH)  # two try for a prey that needs three
    assert (now.reward[0], now.metrics[0].tolist()) == (-2, [0, 1])


def test_catchers_of_one_prey_do_not_count_for_the_next():
    """Three predators in a row, a prey between each two: whichever turn is first, one is left and punished."""
    last = set()
    for seed in range(20):
        env, _ = put([(5, 1), (5, 3), (5, 5)], [(5, 2), (5, 4)], seed=seed, punishment=-2.0)
        now = play(env, CATCH, CATCH, CATCH)
        assert (now.reward[0], now.metrics[0].tolist()) == (8, [1, 1])
        last.add(tuple(places(env)))
    assert last == {(0,), (2,)}


def test_two_prey_caught_in_one_step_by_four():
    env, _ = put([(4, 1), (6, 1), (4, 8), (6, 8)], [(5, 1), (5, 8), (0, 0)], punishment=-2.0)
    now = play(env, CATCH, CATCH, CATCH, CATCH)
    assert (now.reward[0], now.metrics[0].tolist()) == (20, [2, 0])
    assert (now.terminated[0], now.truncated[0]) == (True, False)  # nobody is left to hunt
    assert places(env) == {}


def test_two_prey_side_by_side_need_two_each():
    """Agents 0 and 1 hold the left prey, 2 and 3 the right one."""
    env, _ = put([(4, 4), (6, 4), (4, 5), (6, 5), (0, 0)], [(5, 4), (5, 5)], punishment=-2.0)
    now = play(env, CATCH, CATCH, CATCH, CATCH, STAY)
    assert (now.reward[0], now.metrics[0].tolist()) == (20, [2, 0])
    assert now.terminated[0]  # no prey is left
    assert places(env) == {4: (0, 0)}


def test_a_predator_that_is_left_over_plays_until_the_limit():
    env, _ = put([(4, 5), (6, 5), (0, 0)], [(5, 5), (9, 9)], episode_limit=3)
    assert play(env, CATCH, CATCH, STAY).reward[0] == 10
    assert not play(env, STAY, STAY, DOWN).truncated[0]
    now = play(env, STAY, STAY, DOWN)
    assert (now.terminated[0], now.truncated[0]) == (False, True)
    assert places(env) == {2: (2, 0)}


def test_the_last_capture_at_the_limit_terminates():
    env, _ = put([(4, 5), (6, 5)], [(5, 5)], episode_limit=1)
    now = play(env, CATCH, CATCH)
    assert (now.terminated[0], now.truncated[0]) == (True, False)


def test_freed_cells_can_be_entered_and_old_places_leave_no_trace():
    env, _ = put([(4, 5), (6, 5), (5, 3)], [(5, 5), (0, 0)])
    play(env, CATCH, CATCH, RIGHT)
    for action in (RIGHT, UP):
        play(env, STAY, STAY, action)
    assert places(env) == {2: (4, 5)}
    now = env.reset(np.array([3], np.uint64), every(env))
    assert now.state.reshape(100, 2).sum(axis=0).tolist() == [3, 2]
    assert (env._cells != 0).sum() == 16**2 - 100 + 5  # border and the five; nothing else is taken


def test_the_scene_shows_what_is_there():
    env, _ = put([(4, 5), (6, 5), (0, 0)], [(5, 5), (9, 9)], punishment=-2.0)
    scene = env.scene(0)
    assert (scene.height, scene.width, len(scene.things)) == (10, 10, 5)
    play(env, CATCH, CATCH, STAY)
    assert env.scene(0).caption == "step 1, 1 captures, 0 punishments"
    assert [(t.label, t.shape) for t in env.scene(0).things] == [("1", "square"), ("2", "disc")]


@pytest.mark.parametrize("changes", [{"punishment": -2.0, "view_radius": 0, "size": 5}, {"agents": 3, "prey": 1}])
def test_the_contract_is_kept(changes):
    check_environment(game(n_envs=3, episode_limit=40, **changes), n_episodes=1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 0}, "agents must be at least 1, got 0"),
        ({"prey": 0}, "prey must be at least 1, got 0"),
        ({"size": 1}, "size must be at least 2, got 1"),
        ({"view_radius": -1}, "view_radius must be at least 0"),
        (
            {"view_radius": 10**6},
            "games played side by side would take .* GB of memory, of which .* are there; make size",
        ),
        ({"capture_reward": float("nan")}, "capture_reward must be a number"),
        ({"episode_limit": 0}, "episode_limit must be at least 1"),
        ({"catchers": 5}, "catchers must be at most 4, got 5"),
        ({"punishment": 2.0}, "punishment must be at most 0, got 2.0"),
        ({"size": 3}, "8 agents and 8 prey do not fit on 3×3 cells"),
    ],
)
def test_what_does_not_fit_is_explained(changes, message):
    with pytest.raises(ConfigError, match=message):
        game(**changes)
