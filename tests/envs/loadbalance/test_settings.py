"""Settings that make no sense are refused in one sentence, before anything is compiled."""

import math
import re
import subprocess
import sys

import pytest

from hymarl.registry import ConfigError

INF, NAN = math.inf, math.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dt": 0.0}, "dt must be at least 1e-15, got 0.0"),
        ({"rho": -1.0}, "rho must be at least 1e-15"),
        ({"cpus": []}, "cpus must have 1 to 10,000 entries, got []"),
        ({"cpus": [2, 0]}, "cpus[1] must be at least 1, got 0"),
        ({"cpus": [[1]]}, "cpus[0] must be a whole number, got [1]"),
        ({"burst_dwell": [[1, 2]]}, "burst_dwell[0] must be a number, got [1, 2]"),
        ({"nominal_weights": [1.0, 2.0]}, "nominal_weights must have one number for each of the 4 servers in cpus"),
        ({"nominal_weights": [1.0, NAN, 1.0, 1.0]}, "nominal_weights[1] must be a number"),
        ({"slots": 3}, "slots=3 must not be below the number of servers in cpus, 4"),
        ({"decay": 1.2}, "decay must be at most 1"),
        ({"decay": 0.0}, "decay must be above 0"),
        ({"decay": 1e-20}, "decay=1e-20 a second is too fast for warmup=5.0 s and 100 steps of dt=0.25 s; raise decay"),
        ({"warmup": 1e6}, "decay=0.9 a second is too fast for warmup=1000000.0 s and 100 steps of dt=0.25 s; raise"),
        ({"episode_limit": None}, "give episode_limit"),
        ({"rho_range": [0.9, 0.5]}, "rho_range must be the lowest and the highest load, got [0.9, 0.5]"),
        ({"bg_dwell": [3.0]}, "bg_dwell must have 2 entries, got [3.0]"),
        ({"bg_speeds": [INF, 1.0]}, "bg_speeds[0] must be at most 1,000,000,000,000,000, got inf"),
        ({"failure_start": [0.9, 0.1]}, "failure_start must be the earliest and the latest start, got [0.9, 0.1]"),
        ({"failure_start": [2.0, 3.0]}, "failure_start[0] must be at most 1, got 2.0"),
        ({"failure_length": INF}, "failure_length must be at most 1, got inf"),
        ({"swaps": 1, "service": "fifo"}, "swaps=1 needs service=ps"),
        ({"swap_window": [0.9, 0.1]}, "swap_window must be the earliest and the latest time, got [0.9, 0.1]"),
        ({"size_factors": [2.0, 0.5]}, "size_factors must be the smallest and the largest, got [2.0, 0.5]"),
        ({"reward_ema": 1.5}, "reward_ema must be below 1"),
        ({"obs_delay": 0.3}, "obs_delay=0.3 must not exceed dt=0.25"),
        ({"reject_seconds": -1.0}, "reject_seconds must be at least 0"),
        ({"agents": 0}, "at least one balancer"),
        ({"lb_split": 0.0}, "lb_split must be at least 0.01, got 0.0"),
        ({"lb_split": INF}, "lb_split must be at most 1,000,000, got inf"),
        ({"trace": ""}, "trace is empty; give a path, or null"),
        ({"metrics": [["jct"]]}, "metrics[0] must be text, got ['jct']"),
        ({"reward": "prodct"}, "did you mean 'product'"),
        ({"cpus": "many"}, "cpus has the wrong type"),
    ],
)
def test_message(make_checked_env, changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_checked_env(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_mean": 1e-9}, "about 5.1e+10 flows would arrive in the 5 s of warmup, more than 1,000,000; lower"),
        ({"rho": 1e12, "warmup": 0.0}, "about 1.5e+13 flows would arrive in the 0.25 s of dt"),
        ({"scenario": "burst", "burst_rates": [1.0, 1e9]}, "about 2.6e+11 flows would arrive"),
        ({"decay": 1.0, "dt": 1e-6}, "warmup=5.0 has more than 1,000,000 intervals of dt=1e-06; lower it"),
        ({"ack_rate": 1e9}, "servers with 160 flows each would send 3.2e+12 packets in the 5 s of warmup, too many"),
    ],
)
def test_what_would_keep_compiled_code_busy_for_ever_is_refused(make_env, changes, message):
    """Ctrl-C does not reach it."""
    with pytest.raises(ConfigError, match=re.escape(message)):
        make_env(**changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"workers": 10**9, "ack_rate": 0.0},
        {"max_clients": 10**9, "ack_rate": 0.0},
        {"episode_limit": 10**9, "decay": 1.0},
        {"agents": 10_000, "reservoir": 100_000},
    ],
)
def test_what_does_not_fit_into_memory_is_refused_before_it_is_allocated(make_env, changes):
    with pytest.raises(
        ConfigError, match=r"the simulations played side by side would take [\d,.]+ GB of memory, of which"
    ):
        make_env(**changes)


@pytest.mark.timeout(300, method="thread")
def test_drawing_shares_comes_to_an_end_whatever_the_numbers(make_env, start):
    """No setting leads there: without a bound the compiled loop would go on for ever."""
    env = make_env(lb_split=2.0)
    parameters = env.engine.parameters
    for split in (INF, NAN):
        env.engine.parameters = parameters._replace(traffic=parameters.traffic._replace(split=split))
        assert start(env).avail.any()


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
