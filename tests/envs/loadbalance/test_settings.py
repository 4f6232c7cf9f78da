"""Settings that make no sense are refused in one sentence, before anything is compiled."""

import subprocess
import sys

import pytest

from hymarl.registry import ConfigError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, "dt must be above 0, got 0.0"),
        ({"rho": -1.0}, "rho must be above 0"),
        ({"cpus": []}, "cpus must be numbers above 0"),
        ({"cpus": [2, 0]}, "cpus must be numbers above 0"),
        ({"nominal_weights": [1.0, 2.0]}, "nominal_weights must be one number above 0 for each of the 4 servers"),
        ({"slots": 3}, "slots must be at least the 4 servers, got 3"),
        ({"decay": 1.2}, "decay must be between 0 and 1"),
        ({"decay": 0.0}, "decay must be above 0"),
        ({"decay": 1e-20}, "decay=1e-20 is too fast for an episode of 100 steps"),
        ({"episode_limit": None}, "give episode_limit"),
        ({"rho_range": [0.9, 0.5]}, "rho_range must be two loads"),
        ({"bg_dwell": [3.0]}, "bg_dwell must be two numbers"),
        ({"reward_ema": 1.5}, "reward_ema must be between 0 and 1"),
        ({"obs_delay": 0.3}, "must not exceed dt"),
        ({"agents": 0}, "at least one balancer"),
        ({"lb_split": 0.0}, "lb_split must be above 0"),
        ({"reward": "prodct"}, "did you mean 'product'"),
        ({"cpus": "many"}, "cpus has the wrong type"),
    ],
)
def test_message(make_env, changes, message):
    with pytest.raises(ConfigError, match=message):
        make_env(**changes)


def test_nominal_weights(make_env, start, advance):
    env = make_env(nominal_weights=[1.0, 2.0, 3.0, 4.0], action_mode="favour0")
    start(env)
    advance(env)
    assert env.engine.world.pairs["weight"][0, 0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_settings_are_checked_without_numba():
    code = (
        "import sys; from hymarl.registry import find; "
        "find('env', 'loadbalance'); print('numba' in sys.modules)"
    )  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
