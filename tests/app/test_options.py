"""What the chosen components are called."""

import pytest
from hydra import compose

from hymarl.app.hydra_state import initialized, set_aside
from hymarl.app.options import algorithm


@pytest.fixture(scope="module")
def chosen():
    """The option of every group by default, as Hydra composes it."""
    with set_aside(), initialized():
        cfg = compose("config", overrides=["env=two_step"], return_hydra_config=True)
    return dict(cfg.hydra.runtime.choices)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "qmix"),
        ({"mixer": "vdn"}, "vdn"),
        ({"mixer": "none"}, "iql"),
        ({"algo": "vdn"}, "qmix"),  # with another mixer
        ({"algo": "vdn", "mixer": "vdn"}, "vdn"),
        ({"network": "mlp"}, "qmix"),  # the algorithm does not say which network
    ],
    ids=str,
)
def test_the_name_says_what_was_chosen(chosen, changes, name):
    assert algorithm({**chosen, **changes}) == name


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["algo=qmix_pymarl2", "optimizer=rmsprop"], "qmix_pymarl2"),
        (["algo=ow_qmix", "replay=prioritized"], "ow_qmix"),
        (["algo=ssac", "network=mlp"], "ssac"),
        (["algo=mappo", "policy=parameter_noise", "policy.distance=0.1"], "mappo"),
        (["algo=pqn_vdn", "replay=uniform", "optimizer=adam"], "vdn"),
        (["algo=madqn", "controller=mac"], "iql"),
        (["algo=qmix_pymarl2", "optimizer.lr=0.1"], "qmix_pymarl2"),
        (["~algo", "mixer=vdn"], "vdn"),
    ],
    ids=" ".join,
)
def test_the_name_says_what_runs(configured, overrides, name):
    assert configured("env=two_step", *overrides).algo == name


def test_components_of_no_known_algorithm_are_called_after_the_mixer_or_the_learner():
    assert algorithm({"algo": "qmix", "learner": "q", "mixer": "mine"}) == "mine"
    assert algorithm({"algo": "qmix", "learner": "mine", "mixer": "none"}) == "mine"
    assert algorithm({"algo": "qmix", "learner": "mine", "mixer": "qmix"}) == "mine"  # it may not even use a mixer


@pytest.mark.parametrize(("overrides", "folder"), [(["mixer=vdn"], "vdn"), (["policy=random"], "random")])
def test_a_run_is_stored_under_what_runs(hymarl, tmp_path, overrides, folder):
    short = ("train.total_steps=2", "eval.episodes=1", "eval.test_episodes=1", "eval.references=false", "threads=1")
    outcome = hymarl(tmp_path, "env=two_step", "logger=[]", "runner=episode", *short, *overrides)
    assert (outcome.code, outcome.err) == (0, "")
    assert [path.name for path in (tmp_path / "results" / "two_step").iterdir()] == [folder]
