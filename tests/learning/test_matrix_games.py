"""Small games whose limits are known: what each mixer learns from uniformly random play, against closed forms."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from hymarl.components.episode import EpisodeBatch
from hymarl.components.replay.base import Sample
from hymarl.components.rng import Stream
from hymarl.components.spec import EnvSpec
from hymarl.controllers.base import Controller
from hymarl.envs.adapters.joint_agent import JointAgent
from hymarl.learners.td import mixed
from hymarl.training.evaluation import Evaluation
from hymarl.training.settings import TrainingSettings

# The two-step game of the QMIX paper: agent 0's first action chooses 2A, which pays 7 always, or 2B.
GAMMA = 0.99
TWO_B = np.array([[0.0, 1.0], [1.0, 8.0]])
NON_MONOTONIC = [[8.0, -12.0, -12.0], [-12.0, 0.0, 0.0], [-12.0, 0.0, 0.0]]  # of the QTRAN paper


def additive_fit(payoffs):
    """The least-squares fit f_i + g_j of a table when every entry is equally likely."""
    n, m = payoffs.shape
    design = [np.concatenate([np.eye(n)[i], np.eye(m)[j]]) for i, j in itertools.product(range(n), range(m))]
    return (design @ np.linalg.lstsq(np.array(design), payoffs.ravel(), rcond=None)[0]).reshape(n, m)


@pytest.fixture(scope="session")
def every_way(component):
    """A batch with every sequence of joint actions once: exactly uniform data."""

    def play(env_name, wrap=lambda env: env, **changes):
        spec = wrap(component("env", env_name, None, 1, **changes)).spec
        choices = itertools.product(range(spec.n_actions), repeat=spec.n_agents * spec.episode_limit)
        sequences = np.array(list(choices)).reshape(-1, spec.episode_limit, spec.n_agents)
        n, on = len(sequences), np.ones(len(sequences), bool)
        env, batch = wrap(component("env", env_name, None, n, **changes)), EpisodeBatch.empty(spec, n)
        arrays = {name: x.numpy() for name, x in batch.tensors().items()}
        step = env.reset(np.zeros(n, np.uint64), on)
        for t in range(spec.episode_limit):
            arrays["obs"][:, t], arrays["state"][:, t] = step.obs, step.state
            step = env.step(sequences[:, t], on)
            arrays["actions"][:, t], arrays["reward"][:, t] = sequences[:, t], step.reward
            arrays["terminated"][:, t], arrays["filled"][:, t] = step.terminated, True
        batch.validate(spec)
        return batch, spec

    return play


@pytest.fixture(scope="session")
def learn(component, make_controller):
    """The values ``[B, T, V]`` of the actions taken after so many updates on one batch."""

    def run(batch, spec, mixer, n_updates, lr=0.01, **settings):
        torch.manual_seed(0)
        controller = make_controller(spec, "mlp", {"hidden_dims": [32]}, last_action=False)
        mixer = component("mixer", mixer, spec, **settings)
        optimizer = component("optimizer", "adam", lr=lr)
        learner = component("learner", "q", controller, mixer, optimizer, gamma=GAMMA, target_interval_updates=20)
        for _ in range(n_updates):
            learner.update(Sample(batch, np.arange(batch.n_episodes)))
        with torch.no_grad():
            return mixed(mixer, batch, controller.unroll(batch)[0], batch.actions).numpy()

    return run


def tables(batch, values):
    """Values of the two-step game by state and joint action, ``[3, 2, 2, V]``."""
    found = np.full((3, 2, 2, values.shape[-1]), np.nan)
    for b, (first, second) in enumerate(batch.actions.tolist()):
        found[0, *first] = values[b, 0]
        found[1 + first[0], *second] = values[b, 1]
    return found


def test_qmix_learns_the_two_step_game_exactly(every_way, learn):
    batch, spec = every_way("two_step")
    found = tables(batch, learn(batch, spec, "qmix", 250, 0.02, embed_dim=8))[..., 0]
    assert found[0] == pytest.approx(np.array([[GAMMA * 7] * 2, [GAMMA * 8] * 2]), abs=0.05)  # 6.93 and 7.92
    assert found[1] == pytest.approx(np.full((2, 2), 7.0), abs=0.05)
    assert found[2] == pytest.approx(TWO_B, abs=0.05)


def test_vdn_learns_the_additive_fit_of_the_two_step_game(every_way, learn):
    batch, spec = every_way("two_step")
    fit = additive_fit(TWO_B)
    assert fit == pytest.approx(np.array([[-1.5, 2.5], [2.5, 6.5]]))
    found = tables(batch, learn(batch, spec, "vdn", 250, 0.02))[..., 0]
    assert found[0] == pytest.approx(np.array([[GAMMA * 7] * 2, [GAMMA * fit.max()] * 2]), abs=0.1)  # so it prefers 2A
    assert found[1] == pytest.approx(np.full((2, 2), 7.0), abs=0.1)
    assert found[2] == pytest.approx(fit, abs=0.1)


def test_independent_learners_average_over_one_another(every_way, learn):
    batch, spec = every_way("two_step")
    found = tables(batch, learn(batch, spec, "none", 250, 0.02))
    in_2b = [TWO_B.mean(axis=1), TWO_B.mean(axis=0)]  # 0.5 and 4.5 for either agent
    for agent in range(2):
        by_action = np.moveaxis(found[2, ..., agent], agent, 0)  # own action first
        assert by_action == pytest.approx(np.stack([in_2b[agent]] * 2, axis=1), abs=0.2)
    assert found[0, :, :, 0] == pytest.approx(GAMMA * np.array([[7, 7], [4.5, 4.5]]), abs=0.2)  # agent 0 prefers 2A
    assert found[0, :, :, 1] == pytest.approx(
        GAMMA * np.full((2, 2), (7 + 4.5) / 2), abs=0.2
    )  # agent 1 decides nothing


@pytest.mark.parametrize("mixer", ["vdn", "qmix"])
def test_what_a_monotonic_mixer_makes_of_a_game_that_is_not(every_way, learn, mixer):
    payoffs = np.array(NON_MONOTONIC)
    settings = {"payoffs": NON_MONOTONIC, "next_state": None, "steps": 1}
    batch, spec = every_way("matrix_game", **settings)
    values = learn(batch, spec, mixer, *((200, 0.05) if mixer == "vdn" else (400, 0.03)))
    found = np.empty((3, 3))
    for b, ((i, j),) in enumerate(batch.actions.tolist()):
        found[i, j] = values[b, 0, 0]
    if mixer == "vdn":
        assert found == pytest.approx(additive_fit(payoffs), abs=0.15)
    else:
        # A local optimum: -8 wherever someone plays action 0 (the mean of 8 and four times -12), else 0. The best
        # table that it could hold has 8 in one corner and -6 elsewhere, 288 instead of 320.
        wanted = np.zeros((3, 3))
        wanted[0] = wanted[:, 0] = -8.0
        assert found == pytest.approx(wanted, abs=0.3)
        assert ((found - payoffs) ** 2).mean() == pytest.approx(320 / 9, rel=0.01)  # 16^2 + 4 * 4^2 = 320: 35.56
    best = np.unravel_index(found.argmax(), found.shape)
    assert payoffs[best] == 0  # never the 8


def test_one_agent_for_all_learns_the_game_itself(every_way, learn):
    """Deep Q-learning over the joint action has the value of each, whatever the game."""
    batch, spec = every_way("qtran_game", JointAgent)
    values = learn(batch, spec, "none", 200, 0.03)[:, 0, 0]
    found = np.empty(9)
    found[batch.actions[:, 0, 0]] = values
    assert found.reshape(3, 3) == pytest.approx(np.array(NON_MONOTONIC), abs=0.3)
    assert found.argmax() == 0  # the 8


def penalty(k):
    return [[k, 0, 10], [0, 2, 0], [10, 0, k]]


GAMES = {
    "climbing": [[11, -30, 0], [-30, 7, 0], [0, 6, 5]],
    "penalty": penalty(-100),
    "qplex_ridge": [[10.4, 0, 10], [0, 10, 10], [10, 10, 10]],
    "qplex_game": [[8, -12, -12], [-12, 6, 0], [-12, 0, 6]],
    **{f"penalty {k}": penalty(k) for k in (0, -25)},
}
FAST_GAMES = ("climbing", "penalty", "qplex_ridge")


@pytest.mark.parametrize(
    "game", [pytest.param(game, marks=[pytest.mark.slow] * (game not in FAST_GAMES)) for game in GAMES]
)
@pytest.mark.parametrize("mixer", ["vdn", "none"])
def test_one_step_games_against_closed_forms(every_way, learn, mixer, game):
    """VDN tends to the additive least-squares fit, independent learners to the mean over the other's actions."""
    payoffs = np.array(GAMES[game])
    batch, spec = every_way("matrix_game", payoffs=GAMES[game], next_state=None, steps=1)
    values = learn(batch, spec, mixer, 200, 0.05)
    found = np.empty((3, 3, values.shape[-1]))
    for b, ((i, j),) in enumerate(batch.actions.tolist()):
        found[i, j] = values[b, 0]
    row, column = np.broadcast_arrays(payoffs.mean(axis=1)[:, None], payoffs.mean(axis=0)[None])
    wanted = additive_fit(payoffs)[..., None] if mixer == "vdn" else np.stack([row, column], axis=-1)
    assert found == pytest.approx(wanted, abs=0.01 * np.ptp(payoffs))


# Centrally weighted QMIX, whose unrestricted value knows many random games at once; the state says which one is played.


class Choices(Controller):
    """A table of scores for each agent and game."""

    def __init__(self, n_games):
        super().__init__()
        self.scores = torch.nn.Parameter(0.1 * torch.randn(2, n_games, 3))

    def initial_state(self, keys):
        return torch.zeros(len(keys), 2, 0)

    def step(self, obs, last_actions, state):
        raise NotImplementedError

    def unroll(self, batch):
        return torch.einsum("btag,agu->btau", batch.obs, self.scores), batch.obs


class Payoffs(torch.nn.Module):
    """In place of the central mixer: the truth."""

    def __init__(self, payoffs):
        super().__init__()
        self.payoffs = payoffs

    def forward(self, inputs):
        return self.payoffs[inputs.state.argmax(dim=-1), *inputs.actions.unbind(dim=-1)].unsqueeze(-1)


def best_of_random_games(component, alpha, seed=0, n_games=15, n_updates=100):
    """In how many games the agents' best actions are the best joint action."""
    torch.manual_seed(seed)
    payoffs = torch.rand(n_games, 9).argsort(dim=-1).view(n_games, 3, 3).float()  # 0 to 8, each once
    spec = EnvSpec(n_agents=2, n_actions=3, obs_dim=n_games, state_dim=n_games, episode_limit=1)
    games, *joint = torch.cartesian_prod(torch.arange(n_games), torch.arange(3), torch.arange(3)).unbind(dim=-1)
    batch = EpisodeBatch.empty(spec, len(games))
    batch.state[:, 0] = torch.eye(n_games)[games]
    batch.obs[:, 0] = batch.state[:, 0, None]
    batch.actions[:, 0] = torch.stack(joint, dim=-1).to(batch.actions.dtype)
    batch.reward[:, 0], batch.filled[:], batch.terminated[:] = payoffs[games, *joint], True, True
    parts = Choices(n_games), component("mixer", "qmix", spec, embed_dim=8, hypernet_layers=1)
    optimizer = component("optimizer", "adam", lr=0.03)
    learner = component(
        "learner", "weighted_q", *parts, lambda: Choices(n_games), spec, optimizer, weighting="cw", alpha=alpha,
        central_dims=[], grad_clip=None, target_interval_updates=10**6,
    )  # fmt: skip
    learner.targets.networks["central_mixer"] = Payoffs(payoffs)
    for _ in range(n_updates):
        learner.update(Sample(batch, np.arange(batch.n_episodes)))
    chosen = parts[0].scores.argmax(dim=-1)  # A games
    return (payoffs[torch.arange(n_games), *chosen] == payoffs.flatten(1).amax(dim=1)).sum().item() / n_games


def test_centrally_weighted_qmix_finds_the_best_joint_action_of_random_games(component):
    """A theorem of Rashid et al. (2020): with alpha small enough and Q* exact; without weights it does not."""
    assert best_of_random_games(component, alpha=0.01) == 1
    assert best_of_random_games(component, alpha=1.0) < 0.9


@pytest.fixture(scope="session")
def example():
    """The example that makes the table of `docs/algorithms.md`."""
    path = Path(__file__).resolve().parents[2] / "examples" / "matrix_games.py"
    found = importlib.util.spec_from_file_location("matrix_games", path)
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def optimistic_loss(values, payoffs, alpha):
    """Squared errors, summed; those of values not below their payoff count alpha (Rashid et al. 2020, eq. 9)."""
    errors = values - payoffs
    return np.sum(np.where(errors < 0, 1.0, alpha) * errors**2)


def optimistic_gradient(values, payoffs, alpha):
    """Of `optimistic_loss` by the values."""
    return 2 * np.where(values < payoffs, 1.0, alpha) * (values - payoffs)


def least_loss_by_best_action(payoffs, alpha):
    """The least optimistic loss of the tables that QMIX can hold in which each joint action is the agents' best.

    In some order of either agent's actions such a table rises along both axes, and ever more the better the other
    agent plays, since the mixer adds up a convex activation with positive weights. Given the orders, the loss is
    convex.
    """
    optimize = pytest.importorskip("scipy.optimize")
    payoffs, n, least = payoffs.astype(np.float64), len(payoffs), {}
    cells = np.eye(n * n).reshape(n, n, n * n)
    along = np.diff(cells, axis=0), np.diff(cells, axis=1), np.diff(np.diff(cells, axis=0), axis=1)
    not_below_0 = np.concatenate([differences.reshape(-1, n * n) for differences in along])
    for rows, columns in itertools.product(itertools.permutations(range(n)), repeat=2):
        ordered = payoffs[np.ix_(rows, columns)].ravel()
        found = optimize.minimize(
            optimistic_loss, np.full(n * n, ordered.mean()), (ordered, alpha), "SLSQP", optimistic_gradient, tol=1e-9,
            constraints={"type": "ineq", "fun": not_below_0.dot, "jac": lambda _: not_below_0},
        )  # fmt: skip
        assert found.success
        best = rows[-1], columns[-1]
        least[best] = min(least.get(best, np.inf), found.fun)
    return least


def optimistically_learned(example, game, alpha, n_updates):
    """The agents' best joint action after updates on exactly uniform data, and the loss of the values then."""
    config = example.hymarl.compose(
        f"env={game}", "algo=ow_qmix", *example.SETTINGS, "optimizer.lr=0.02", f"learner.alpha={alpha}"
    )
    spec, batch, payoffs = example.play_everything(game)
    torch.manual_seed(0)
    learner = example.build_learner(config, spec)
    for _ in range(n_updates):
        learner.update(Sample(batch, np.arange(batch.n_episodes)))
    with torch.no_grad():
        q_values, _ = learner.networks["controller"].unroll(batch)
        found = mixed(learner.networks["mixer"], batch, q_values, batch.actions)[:, 0, 0].numpy()
    best = tuple(example.greedy(q_values, batch.avail)[0, 0].tolist())
    return best, optimistic_loss(found, payoffs.ravel(), alpha)


@pytest.mark.parametrize("game", ["qtran_game", "qplex_game", "climbing", "penalty"])
@pytest.mark.parametrize("alpha", [0.1, 0.01])
def test_with_a_small_weight_of_the_others_the_least_loss_gets_the_best_payoff(example, game, alpha):
    payoffs = example.play_everything(game)[2]
    least = least_loss_by_best_action(payoffs, alpha)
    assert payoffs[min(least, key=least.get)] == payoffs.max()


@pytest.mark.parametrize(("game", "n_updates"), [("qtran_game", 200), ("penalty", 400)])
def test_optimistically_weighted_qmix_ends_at_the_least_loss(example, game, n_updates):
    payoffs = example.play_everything(game)[2]
    best, loss = optimistically_learned(example, game, 0.1, n_updates)
    assert payoffs[best] == payoffs.max()
    assert loss == pytest.approx(min(least_loss_by_best_action(payoffs, 0.1).values()), rel=0.02)


def test_the_best_table_of_the_qtran_game_has_the_8_and_is_not_what_qmix_learns(example):
    """That has a loss of 320, `test_what_a_monotonic_mixer_makes_of_a_game_that_is_not`."""
    payoffs = example.play_everything("qtran_game")[2]
    least = least_loss_by_best_action(payoffs, 1.0)
    assert payoffs[min(least, key=least.get)] == 8
    assert least[0, 0] == pytest.approx(288)
    assert least[1, 1] == pytest.approx(320)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize(
    ("algorithm", "wanted", "at_least"),
    [
        *((name, 0, 5) for name in ("vdn", "qmix", "qatten")),
        *((name, 8, 5) for name in ("cw_qmix", "ow_qmix", "qtran")),
        ("qplex", 8, 4),
    ],
)
def test_which_algorithms_find_the_best_of_the_qtran_game(example, algorithm, wanted, at_least):
    found = [example.learn(algorithm, "qtran_game", seed)[-1] for seed in range(11, 16)]
    assert found.count(wanted) >= at_least


# The whole loop: random play through runner, buffer, learner and evaluation


@pytest.fixture(scope="session")
def train(component, make_controller, make_trainer):
    """The greedy return after training on random play."""

    def run(mixer, seed, n_envs, optimizer, network, mixer_settings, target_interval_updates, total_steps, **replay):
        def runner(stream):
            return component(
                "runner", "parallel", lambda n: component("env", "two_step", None, n), seed, stream, n_envs=n_envs
            )

        runners = runner(Stream.TRAINING), runner(Stream.VALIDATION)
        spec = runners[0].spec
        torch.manual_seed(seed)
        controller, made = make_controller(spec, *network), component("mixer", mixer, spec, **mixer_settings)
        settings = {"gamma": GAMMA, "target_interval_updates": target_interval_updates}
        learner = component("learner", "q", controller, made, optimizer, **settings)
        never = dict.fromkeys(("log_interval_steps", "eval_interval_steps", "checkpoint_interval_steps"), 10**9)
        trainer = make_trainer(
            *runners,
            learner,
            component("selector", "epsilon_greedy", spec, (), start=1.0, finish=1.0),
            component("replay", "uniform", spec, {}, seed, updates_per_episode=1.0, batch_episodes=32, **replay),
            TrainingSettings(total_steps=total_steps, keep_checkpoints=1, **never),
        )
        last = [event for event in trainer.run() if isinstance(event, Evaluation)][-1]
        assert trainer.learner.updates > 0.9 * total_steps / 2
        return last.return_mean

    return run


@pytest.mark.parametrize(
    ("mixer", "settings", "greedy_return"),
    [("qmix", {"embed_dim": 8}, 8), ("vdn", {}, 7), pytest.param("none", {}, 7, marks=pytest.mark.slow)],
)
def test_greedy_return_after_random_play(train, component, mixer, settings, greedy_return):
    found = train(
        mixer,
        seed=1,
        n_envs=16,
        optimizer=component("optimizer", "adam", lr=0.01),
        network=("mlp", {"hidden_dims": [32]}),
        mixer_settings=settings,
        total_steps=2 * 400,
        buffer_episodes=400,
        target_interval_updates=20,
    )
    assert found == greedy_return


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize(
    ("mixer", "settings", "greedy_return"), [("qmix", {"embed_dim": 8}, 8), ("vdn", {}, 7), ("none", {}, 7)]
)
def test_greedy_return_in_the_papers_setting(train, component, mixer, settings, greedy_return, seed):
    """5,000 episodes, replay of 500, batches of 32, targets every 100, RMSprop 5e-4 (Rashid et al., 2018, appendix)."""
    found = train(
        mixer,
        seed=seed,
        n_envs=1,
        optimizer=component("optimizer", "rmsprop", lr=0.0005),
        network=("rnn", {"hidden_dims": [64], "rnn_dim": 64}),
        mixer_settings=settings,
        total_steps=2 * 5000,
        buffer_episodes=500,
        target_interval_updates=100,
    )
    assert found == greedy_return
