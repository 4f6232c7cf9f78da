"""What the chosen components are called."""

import pytest

from hymarl.app.options import algorithm, options


@pytest.mark.parametrize("algo", options("algo"))
def test_an_algorithm_whose_choices_were_kept_has_its_name(configured, algo):
    assert configured("env=two_step", f"algo={algo}").algo == algo


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["mixer=vdn"], "vdn"),
        (["mixer=none"], "iql"),
        (["algo=vdn", "mixer=qmix"], "qmix"),
        (["algo=qmix_pymarl2", "mixer=vdn"], "vdn"),
        (["algo=qmix_pymarl2", "optimizer=rmsprop"], "qmix"),
        (["algo=qmix_pymarl2", "optimizer.lr=0.1"], "qmix_pymarl2"),
        (["network=mlp"], "qmix"),  # the algorithm does not say which network
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


@pytest.mark.parametrize(("overrides", "folder"), [(["mixer=vdn"], "vdn"), ([], "qmix"), (["policy=random"], "random")])
def test_a_run_is_stored_under_what_runs(hymarl, tmp_path, overrides, folder):
    short = ("train.total_steps=2", "eval.episodes=1", "eval.test_episodes=1", "eval.references=false")
    outcome = hymarl(tmp_path, "env=two_step", "logger=[]", "runner=episode", *short, *overrides)
    assert (outcome.code, outcome.err) == (0, "")
    assert [path.name for path in (tmp_path / "results" / "two_step").iterdir()] == [folder]
