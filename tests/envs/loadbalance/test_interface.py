"""What a program is told that drives a real balancer: it suffices to compute what the simulator's balancers see."""

import numpy as np
import pytest

from hymarl.envs.loadbalance import LoadBalance


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"features": "paper6", "obs_own_weight": False, "slots": 6},
        {"features": "completion", "obs_mask": True, "obs_own_arrivals": True, "base": "latency"},
    ],
    ids=str,
)
def test_numbers_are_named_in_the_order_of_an_observation(option, make_env, start, advance, changes):
    _, settings = option("env", "loadbalance", **changes)
    told, env = LoadBalance.interface(settings), make_env(**changes)
    seen = told["observation"]
    width, slots = len(seen["per_server"]), seen["slots"]
    assert width * slots + len(seen["after_servers"]) == env.spec.obs_dim
    assert ("latency_gain" in told["action"]) == (settings["base"] == "latency")
    start(env)
    for _ in range(20):
        obs = advance(env).obs[0]  # A O
    by_server = obs[:, : width * slots].reshape(-1, slots, width)[:, :4]
    at = {name: by_server[..., n] for n, name in enumerate(seen["per_server"])}
    world = env.engine.world
    counts = world.pairs["count"].reshape(len(obs), slots)[:, :4]
    np.testing.assert_allclose(at["on_going_flows"], np.log2(1 + counts) / np.log2(1 + seen["max_clients"]), rtol=1e-5)
    times = world.reservoirs.reshape(len(obs), slots, 2)[:, :4]
    for n, quantity in enumerate(("completion", "duration")):
        for name in ("mean", "p90", "std", "decayed_mean", "decayed_p90"):
            if f"{quantity}_{name}" in at:
                unit, offset, most = seen["mean_job_size"], seen["time_offset"], seen["log_range"]
                logarithm = np.log2((times[name][..., n] + offset) / (unit + offset))
                wanted = np.clip(logarithm, -most, most) / most
                np.testing.assert_allclose(at[f"{quantity}_{name}"], wanted, rtol=1e-5, atol=1e-6)
    if settings["base"] == "latency":
        lean = (world.pairs["lean"] + world.pairs["push"]).reshape(len(obs), slots)[:, :4]
        np.testing.assert_allclose(at["base_weight"], lean / told["action"]["latency_clip"], rtol=1e-5)
    assert counts.any()
