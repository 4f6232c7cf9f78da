"""Settings anywhere in their ranges, many at once: refused in a sentence, or played with numbers that are finite."""

import random
from typing import Literal, get_args, get_origin

import numpy as np
import pytest

from hymarl.envs.loadbalance import LoadBalance
from hymarl.ranges import Length, Range
from hymarl.registry import ConfigError, parameters

KINDS = parameters(LoadBalance)
SMALL = {"episode_limit": 3, "warmup": 0.5, "backlog": 4, "workers": 4, "metrics": ["jct", "fairness", "load", "kinds"]}


def rules(kind, which):
    """What the type, or an entry of its lists, says of numbers or lengths."""
    found = [rule for rule in getattr(kind, "__metadata__", ()) if isinstance(rule, which)]
    return found or [rule for inner in get_args(kind) for rule in rules(inner, which)]


def literals(kind):
    """The choices, if the setting has some, or it may be null."""
    if get_origin(kind) is Literal:
        return list(get_args(kind))
    inner = [choice for option in get_args(kind) for choice in literals(option)]
    return [None, *inner] if inner else []


def near_an_end(rule, random):
    """A number in the range: at one of its ends, or of any size between them."""
    low = rule.at_least if rule.at_least is not None else rule.above
    high = rule.at_most if rule.at_most is not None else rule.below
    low, high = low or 1e-12, 1e9 if high is None else high
    return random.choice([low, high, low * (high / low) ** random.random(), 10.0 ** random.uniform(-3, 3)])


def drawn(key, random):
    kind = KINDS[key]
    if choices := literals(kind):
        return random.choice(choices)
    if "bool" in str(kind):
        return random.random() < 0.5
    value = [near_an_end(rules(kind, Range)[0], random) for _ in range(2)]
    value = [round(x) for x in value] if "int" in str(kind) else value
    return value if rules(kind, Length) else value[0]


def play(env, start, advance):
    step = start(env)
    for _ in range(min(3, env.spec.episode_limit)):
        for numbers in (step.obs, step.state, step.reward):
            assert np.isfinite(numbers).all()
        step = advance(env, step.avail.argmax(axis=-1))


def answers(make_env, start, advance, n, n_changed):
    """How many of n mixtures are played; a sentence is fine for the others, everything else is not."""
    played, keys = (
        0,
        [key for key in KINDS if key not in ("trace", "trace_use", "nominal_weights", "estimator", *SMALL)],
    )
    for number in range(n):
        generator = random.Random(number)
        changes = {key: drawn(key, generator) for key in generator.sample(keys, n_changed)}
        choices = {key: drawn(key, generator) for key in ("scenario", "reward", "state", "obs_norm", "reward_field")}
        try:
            play(make_env(**SMALL | choices | changes), start, advance)
            played += 1
        except ConfigError:
            pass
        except AssertionError:
            raise AssertionError(f"{choices | changes}") from None
    return played


def test_mixtures_are_refused_or_played(make_env, start, advance):
    assert answers(make_env, start, advance, 60, 2) > 20


@pytest.mark.slow
def test_more_mixtures_are_refused_or_played(make_env, start, advance):
    assert answers(make_env, start, advance, 1000, 1) > 500
    assert answers(make_env, start, advance, 1000, 5) > 50
