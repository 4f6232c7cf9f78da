"""What is said of environments whose methods return what they must not, and what is understood all the same."""

import sys
from pathlib import Path

import pytest

import hymarl
from hymarl.envs.contract.vector_env import EpisodeFailure
from hymarl.registry import ConfigError

sys.path.insert(0, str(Path(__file__).parents[1]))
import broken_games

sys.path.pop(0)

SETTINGS = {
    "pettingzoo": {"entry_point": "broken_games:pettingzoo"},
    "gymnasium": {"task": "Broken-v0", "package": "broken_games"},
    "pymarl": {"entry_point": "broken_games:pymarl"},
}


def episode(play, interface, name, reward="sum"):
    """Time steps of an episode in which the agents play 0 and 1."""
    game = play(interface, kwargs={"name": name}, reward=reward, **SETTINGS[interface])
    game.start()
    return [
        (now.reward[0].tolist(), bool(now.truncated[0])) for now in (game.go(0, 1) for _ in range(broken_games.LIMIT))
    ]


@pytest.mark.parametrize(
    ("interface", "name"), [(interface, name) for interface, known in broken_games.DEFECTS.items() for name in known]
)
def test_what_must_be_returned_is_said_in_the_words_that_were_typed(play, interface, name):
    sentence, _ = broken_games.DEFECTS[interface][name]
    with pytest.raises((ConfigError, EpisodeFailure), match=sentence) as caught:
        episode(play, interface, name)
    told = str(caught.value)
    setting, value = next(iter(SETTINGS[interface].items()))
    assert f"env.{setting}={value}: " in told
    assert "\n" not in told
    assert str(Path(hymarl.__file__).parent) not in told  # where in this package it was found helps nobody


@pytest.mark.parametrize(
    ("interface", "name"), [(interface, name) for interface, known in broken_games.ODDITIES.items() for name in known]
)
@pytest.mark.parametrize("reward", ["sum", "individual"])
def test_what_is_clear_is_understood(play, interface, name, reward):
    together = name.startswith("one for all")
    expected = 1 if reward == "sum" else [1, 1] if together else [0, 1]
    steps = episode(play, interface, name, reward)
    assert steps == [(expected, False), (expected, False), (expected, True)]


def test_what_a_scripted_agent_returns_is_checked(play):
    settings = SETTINGS["pettingzoo"] | {"entry_point": "parallel_games:Uneven"}
    for returned in ("undecided", "mistaken"):
        game = play("pettingzoo", others={"b": f"parallel_games:{returned}"}, **settings)
        game.start()
        with pytest.raises(
            EpisodeFailure, match=r"env\.others: what plays agent 'b' must return a whole number from 0 to 2"
        ):
            game.go(0)
