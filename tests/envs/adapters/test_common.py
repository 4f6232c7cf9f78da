"""What all adapters make of failures, infos, pictures and states, most of it seen on PettingZoo's."""

import numpy as np
import pytest

from hymarl.envs.adapters.answers import InterfaceError
from hymarl.envs.adapters.importing import loaded
from hymarl.envs.adapters.single import describe
from hymarl.envs.contract.vector_env import EpisodeFailure
from hymarl.registry import ConfigError

A_3, B_0 = 0, 0
"""Actions of the agents of `parallel_games.Uneven`, as numbers from 0."""


@pytest.fixture
def games(play):
    """Plays a class of `parallel_games`: ``games("Uneven", n_envs, kwargs=…)``."""

    def make(kind, n_envs=1, **changes):
        return play("pettingzoo", None, n_envs, entry_point=f"parallel_games:{kind}", **changes)

    return make


@pytest.mark.parametrize(
    ("what", "number", "message"),
    [
        ("obs", "nan", r"obs must be finite, but obs\[0, 1\] is nan"),
        ("obs", 1e300, r"obs must be finite, but obs\[0, 1\] is inf"),
        ("state", "-inf", r"state must be finite, but state\[0\] is -inf"),
        ("reward", "nan", "reward must be finite, but reward is nan"),
    ],
)
def test_numbers_that_are_none_are_a_failure_of_the_row(games, what, number, message):
    game = games("Damaged", 2, kwargs={"what": what, "number": number})
    game.start()
    with np.errstate(over="ignore"), pytest.raises(EpisodeFailure, match=message) as caught:
        game.go(A_3, B_0)
    assert [failure.row for failure in caught.value.failures] == [0, 1]
    assert not any(array.any() for array in caught.value.time_step)


@pytest.mark.parametrize("when", ["reset", "step"])
def test_environment_that_ends_the_program_is_a_failure_of_the_row(games, when):
    game = games("Quitting", kwargs={"when": when})

    def play():
        game.start()
        game.go(A_3, B_0)

    with pytest.raises(EpisodeFailure, match=rf"SystemExit: 3 \(.*parallel_games.py, line \d+, in {when}\)"):
        play()
    with pytest.raises(ConfigError, match="cannot be made: SystemExit: no licence"):
        games("Quitting", kwargs={"when": "making"})


def test_interruption_is_none(games, monkeypatch):
    import parallel_games

    def interrupt(self, actions):
        raise KeyboardInterrupt

    game = games("Uneven")
    game.start()
    monkeypatch.setattr(parallel_games.Uneven, "step", interrupt)
    with pytest.raises(KeyboardInterrupt):
        game.go(A_3, B_0)


def test_episode_without_a_step_is_a_failure(games):
    with pytest.raises(EpisodeFailure, match="after reset no agent of the team plays: an episode needs at least one"):
        games("Over").start()


def test_failures_are_told_in_one_line_with_where_it_is_outside_of_this_package():
    with pytest.raises(ValueError, match="invalid") as caught:
        int("two\nlines")
    here = caught.tb.tb_lineno
    message = "ValueError: invalid literal for int() with base 10: 'two\\nlines'"
    assert describe(caught.value) == f"{message} ({__file__}, line {here}, in {caught.tb.tb_frame.f_code.co_name})"
    with pytest.raises(InterfaceError) as caught:
        loaded("two lines", None)
    assert describe(caught.value).endswith("such as my_package.my_module:my_name, got 'two lines'")
    assert describe(RuntimeError("two\n  lines")) == "RuntimeError: two lines"


def talking(games, metrics, **kwargs):
    """Two episodes of `Talking`; the metrics at their ends."""
    game, last = games("Talking", kwargs=kwargs, metrics=metrics), []
    for _ in range(2):
        game.start()
        last += [game.go(A_3, B_0).metrics for _ in range(4)][-1].tolist()
    return last


@pytest.mark.parametrize(
    ("metrics", "kwargs", "message"),
    [
        (["won", "wno"], {}, "no info of a whole episode has 'wno', they have: list, won; write 'wno\\?' if"),
        (["lucky"], {}, "no info of a whole episode has 'lucky', they have: list, won;"),
        (["won"], {"silent": True}, "no info of a whole episode has 'won', they are empty;"),
        (["list"], {}, r"metrics: the info 'list' is \[1, 2\], which is not a number"),
    ],
)
def test_metrics_that_are_none_are_told(games, metrics, kwargs, message):
    with pytest.raises(EpisodeFailure, match=message):
        talking(games, metrics, **kwargs)


def test_metrics_may_be_told_in_the_last_step_or_before_or_be_optional(games):
    assert talking(games, ["won"]) == [[1], [1]]
    assert talking(games, ["lucky"], lucky=True) == [[0], [0]]
    assert talking(games, ["won", "lucky?"]) == [[1, 0], [1, 0]]


@pytest.mark.parametrize(("what", "color"), [("float", 128), ("bytes as float", 200), ("bool", 255)])
def test_pictures_of_other_numbers(games, what, color):
    game = games("Drawing", kwargs={"what": what})
    game.start()
    pixels = game.env.scene(0).pixels
    assert pixels.dtype == np.uint8
    assert pixels.tolist() == np.full((2, 3, 3), color).tolist()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nothing", r"render\(\) returns no picture but None"),
        ("error", r"cannot draw here: OSError: no display at :0 \(.*; if it lacks a display, start one"),
    ],
)
def test_pictures_that_cannot_be_drawn(games, what, message):
    game = games("Drawing", kwargs={"what": what})
    game.start()
    with pytest.raises(ValueError, match=message):
        game.env.scene(0)


@pytest.mark.parametrize(
    ("chosen", "changes"),
    [
        ("pettingzoo", {"entry_point": "parallel_games:Uneven"}),
        ("pettingzoo", {"entry_point": "parallel_games:BrokenState"}),  # which is not asked for its own
        ("gymnasium", {"task": "Parts-v0", "package": "tuple_games"}),
        ("pymarl", {"entry_point": "pymarl_games:Duel"}),
        ("lbf", {}),
    ],
    ids=str,
)
def test_a_state_may_be_made_of_observations(play, chosen, changes):
    joined, mean = (play(chosen, n_envs=2, state=state, **changes) for state in ("concat", "mean"))
    n_agents, obs_dim = joined.spec.n_agents, joined.spec.obs_dim
    assert (joined.spec.state_dim, mean.spec.state_dim) == (n_agents * obs_dim, obs_dim)
    for one, other in zip(joined.episode(), mean.episode(), strict=True):
        assert np.array_equal(one.obs, other.obs)
        assert np.array_equal(one.state, one.obs.reshape(2, -1))
        assert np.array_equal(other.state, other.obs.sum(axis=1) / np.float32(n_agents))


def test_a_name_of_a_metric_is_given_once(games):
    for names in (["won", "won"], ["won?", "won"]):
        with pytest.raises(ConfigError, match=r"env\.metrics names 'won' twice; name it once"):
            games("Talking", metrics=names)
