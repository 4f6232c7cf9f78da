"""`check_environment` accepts what ships, and finds every planted defect."""

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hymarl.components.spec import Entities, TimeStep
from hymarl.envs.contract.checker import EnvironmentContractError, check_environment
from hymarl.registry import ConfigError, build, check_settings, find, names

CONF = Path(__file__).parents[3] / "conf" / "env"
OPTIONS = sorted(path.stem for path in CONF.glob("*.yaml"))
NEEDED = {
    "lb_swap": {"dt": 2.0},  # else nothing finishes later than 10 s after the swap
    "pettingzoo": {"entry_point": "parallel_games:Uneven"},
    "gymnasium": {"task": "Parts-v0", "package": "tuple_games"},
    "pymarl": {"entry_point": "pymarl_games:Duel"},
    "rware": {"kwargs": {"max_steps": 60}},
    "simlb_table": {"episode_flows": 2000},
}
"""What an option leaves to the user, or would make the test take long."""
LIMIT = 30  # of steps in an episode


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])


@pytest.fixture
def walk():
    import walk

    return walk.Walk


def is_import_error(error):
    """Whether a package that is not there is behind it."""
    return isinstance(error, ImportError) or (error.__cause__ is not None and is_import_error(error.__cause__))


def test_every_registered_environment_has_an_option():
    assert set(names("env")) <= set(OPTIONS)


@pytest.mark.parametrize("chosen", OPTIONS)
def test_environments_that_ship_keep_the_contract(option, chosen):
    name, values = option("env", chosen, **NEEDED.get(chosen, {}))
    if values.get("episode_limit"):
        values["episode_limit"] = min(values["episode_limit"], LIMIT)
    values = check_settings(find("env", name), values, chosen)
    try:
        env = build("env", name, values, None, 3)
    except ConfigError as error:
        if not is_import_error(error):
            raise
        pytest.skip(str(error))
    check_environment(env, n_episodes=1)
    env.close()
    env.close()


def test_one_row_is_enough_to_be_checked(walk):
    check_environment(walk(1))


# Each function takes the class of a correct environment and returns a broken one.


def rule(message):
    def mark(plant):
        plant.message = message
        return plant

    return mark


def changed(walk, method, change):
    """The environment whose ``method`` passes its result through ``change(self, time step, mask)``."""

    def changed_method(self, values, where):
        return change(self, getattr(walk, method)(self, values, where), where)

    return type("Broken", (walk,), {method: changed_method})


def with_spec(walk, **values):
    class Broken(walk):
        def __init__(self, n_envs):
            super().__init__(n_envs)
            self.spec = replace(self.spec, **values)

    return Broken


def filled(name, value):
    """A change that writes ``value`` into one array in the rows asked for."""

    def change(_self, now, where):
        getattr(now, name)[where] = value
        return now

    return change


@rule("Broken has no spec: add it, see VectorEnv")
def no_spec(walk):
    class Broken(walk):
        def __init__(self, n_envs):
            super().__init__(n_envs)
            del self.spec

    return Broken


@rule("reset returns state with numbers up to 3e+07: scale them, networks learn from ones near 1")
def huge_state(walk):
    return changed(walk, "reset", filled("state", 3e7))


@rule("n_envs is 3.0: make it an int of at least 1")
def fractional_rows(walk):
    class Broken(walk):
        def __init__(self, n_envs):
            super().__init__(n_envs)
            self.n_envs = float(n_envs)

    return Broken


@rule("spec.metric_names is ('x', 'x', 'y'): make it a tuple of different names")
def equal_names(walk):
    return with_spec(walk, metric_names=("x", "x", "y"))


@rule("spec.headline_metrics has ['wins']: list names of metric_names")
def headline_unknown(walk):
    return with_spec(walk, headline_metrics=("position", "wins"))


@rule("spec.entities takes numbers 2 to 6 of an observation of 4")
def entities_outside(walk):
    return with_spec(walk, entities=Entities(2, 2, 2, (-1,) * 6, (0,) * 6))


@rule("spec.entities.action_entity must have one number from -1 to 1 for each of the 6 actions")
def entities_too_short(walk):
    return with_spec(walk, entities=Entities(2, 2, 0, (-1,) * 4, (0,) * 6))


@rule("reset returns obs with the shape (3, 4): return (3, 2, 4)")
def wrong_shape(walk):
    return changed(walk, "reset", lambda _self, now, _: now._replace(obs=now.obs[:, 0]))


@rule("step returns metrics with the shape (3, 2): return (3, 3)")
def metrics_missing(walk):
    return changed(walk, "step", lambda _self, now, _: now._replace(metrics=now.metrics[:, 1:]))


@rule("reset returns obs as float64: return float32")
def wrong_type(walk):
    return changed(walk, "reset", lambda _self, now, _: now._replace(obs=now.obs.astype(np.float64)))


@rule("step returns reward as list: return a NumPy array")
def not_an_array(walk):
    return changed(walk, "step", lambda _self, now, _: now._replace(reward=now.reward.tolist()))


@rule("step returns tuple: return a TimeStep")
def not_a_time_step(walk):
    return changed(walk, "step", lambda _self, now, _: tuple(now))


@rule("step returns state with NaN or infinity")
def not_finite(walk):
    return changed(walk, "step", filled("state", np.nan))


@rule("avail leaves an agent of a running episode no action")
def nothing_available(walk):
    def change(_self, now, where):
        now.avail[where, 1] = False
        return now

    return changed(walk, "reset", change)


@rule("reset returns avail in a row that it was not asked for")
def all_rows_after_reset(walk):
    def change(_self, now, where):
        now.avail[~where] = True
        return now

    return changed(walk, "reset", change)


@rule("step returns reward in a row that it was not asked for")
def reward_for_nothing(walk):
    def change(_self, now, where):
        now.reward[~where] = 1
        return now

    return changed(walk, "step", change)


@rule("an equal seed and equal actions gave another obs at time 0: derive all randomness from the seed")
def clock(walk):
    def change(_self, now, where):
        now.obs[where, 0, 0] = time.perf_counter() % 1
        return now

    return changed(walk, "reset", change)


@rule("an equal seed and equal actions gave another reward at time 1: derive all randomness from the seed")
def leftovers(walk):
    class Broken(walk):
        memory = 0.0

        def step(self, actions, active):
            now = super().step(actions, active)
            self.memory += 1
            now.reward[active] += self.memory
            return now

    return Broken


@rule("the same episode in another row gave another obs at time 0: derive all randomness from the row's own seed")
def row_number(walk):
    def change(_self, now, where):
        now.obs[where, 0, 0] = np.flatnonzero(where)
        return now

    return changed(walk, "reset", change)


@rule("resetting and stepping other rows in between gave another state at time 2: change nothing in rows")
def resets_everything(walk):
    class Broken(walk):
        def reset(self, seeds, where):
            super().reset(seeds, np.ones_like(where))
            return self.observe(where)

    return Broken


@rule("resetting and stepping other rows in between gave another")
def advances_inactive_rows(walk):
    class Broken(walk):
        def step(self, actions, active):
            self.t += ~active
            return super().step(actions, active)

    return Broken


@rule("avail leaves an agent no action where an episode is truncated")
def nothing_available_at_the_limit(walk):
    def change(_self, now, _where):
        now.truncated[:], now.terminated[:] = now.truncated | now.terminated, False
        now.avail[now.truncated] = False
        return now

    return changed(walk, "step", change)


@rule("after an episode that was left in its middle, an equal seed gave another reward at time 1: reset everything")
def cleans_up_at_the_end_only(walk):
    class Broken(walk):
        def __init__(self, n_envs):
            super().__init__(n_envs)
            self.dirt = np.zeros(n_envs)

        def step(self, actions, active):
            now = super().step(actions, active)
            now.reward[active] += self.dirt[active]
            self.dirt[active] += 1
            self.dirt[now.terminated | now.truncated] = 0
            return now

    return Broken


@rule("terminated and truncated are both true")
def both_ends(walk):
    return changed(walk, "step", lambda _self, now, _: now._replace(truncated=now.truncated | now.terminated))


@rule("an episode goes on after spec.episode_limit=8 steps")
def never_ends(walk):
    def change(_self, now, _where):
        now.truncated[:] = now.terminated[:] = False
        return now

    return changed(walk, "step", change)


@rule("reset returns a reward: return zeros")
def early_reward(walk):
    return changed(walk, "reset", filled("reward", 1))


@rule("reset returns an episode that is over")
def over_at_once(walk):
    return changed(walk, "reset", filled("terminated", True))


@rule("step changes its arguments")
def changes_arguments(walk):
    class Broken(walk):
        def step(self, actions, active):
            actions += 1
            return super().step(actions - 1, active)

    return Broken


@rule("env.spec changed while playing")
def changes_spec(walk):
    def change(self, now, _where):
        self.spec = replace(self.spec, entities=Entities(1, 1, 0, (-1,) * 6, (0,) * 6))
        return now

    return changed(walk, "step", change)


@rule("step fails for valid arguments (actions of rows that are not active may be anything): IndexError")
def reads_actions_of_inactive_rows(walk):
    class Broken(walk):
        def step(self, actions, active):
            np.arange(self.spec.n_actions)[actions]
            return super().step(actions, active)

    return Broken


@rule("step fails for valid arguments: ZeroDivisionError: division by zero (")
def raises(walk):
    return changed(walk, "step", lambda _self, _now, _where: 1 / 0)


DEFECTS = [thing for thing in vars().copy().values() if hasattr(thing, "message")]


@pytest.mark.parametrize("plant", DEFECTS, ids=lambda plant: plant.__name__)
def test_each_defect_is_found_and_explained(plant, walk):
    with pytest.raises(EnvironmentContractError) as caught:
        check_environment(plant(walk)(3), n_episodes=2)
    assert any(plant.message in finding for finding in caught.value.findings), str(caught.value)


def test_what_differs_from_one_construction_to_the_next_is_found_with_a_twin(walk):
    class Broken(walk):
        made = 0

        def __init__(self, n_envs):
            super().__init__(n_envs)
            Broken.made += 1
            self.luck = Broken.made

        def step(self, actions, active):
            now = super().step(actions, active)
            now.reward[active] += self.luck
            return now

    check_environment(Broken(3))
    with pytest.raises(EnvironmentContractError, match="another environment of the same settings gave another reward"):
        check_environment(Broken(3), twin=Broken(3))
    check_environment(walk(3), twin=walk(3))


def test_a_report_lists_every_finding_once(walk):
    class Broken(walk):
        def reset(self, seeds, where):
            now = super().reset(seeds, where)
            now.reward[where] = 1
            now.state[where] = np.inf
            return now

    with pytest.raises(ValueError, match="breaks its contract") as caught:
        check_environment(Broken(4))
    assert len(caught.value.findings) == len(set(caught.value.findings)) == 2
    assert TimeStep.zeros(Broken(1).spec, 1).state.shape == (1, 3)


def test_rows_that_fail_for_one_reason_are_one_finding(component):
    env = component("env", "pettingzoo", None, 4, entry_point="parallel_games:Damaged", kwargs={"what": "ends"})
    with pytest.raises(EnvironmentContractError) as caught:
        check_environment(env)
    (finding,) = caught.value.findings
    assert finding.count("neither the terminations nor the truncations") == 1
    assert finding.startswith(
        "step fails for valid arguments: env.entry_point=parallel_games:Damaged: agent 'a' plays, "
    )
