"""Values that apply while an option is chosen."""

import pytest
import yaml


@pytest.fixture
def with_algo(configured, tmp_path):
    """The configuration with an algorithm of one's own: ``with_algo({"learner": {"any": …}}, "learner=…")``."""

    def read(when_chosen, *overrides):
        (tmp_path / "algo").mkdir(exist_ok=True)
        text = f"# @package _global_\ndefaults: [qmix]\nwhen_chosen: {yaml.dump(when_chosen, default_flow_style=True)}"
        (tmp_path / "algo" / "mine.yaml").write_text(text)
        return configured(f"hydra.searchpath=['file://{tmp_path}']", "env=two_step", "algo=mine", *overrides)

    return read


def test_any_stands_for_whatever_option_has_the_setting_and_else_it_is_dropped_and_said(with_algo):
    said = {"optimizer": {"any": {"lr": 0.25, "alpha": 0.5}}}
    config = with_algo(said)
    assert config.components["optimizer"].settings["lr"] == 0.25
    assert (config.applied, config.dropped) == (("optimizer.lr=0.25",), ("optimizer.alpha (optimizer=adam has none)",))
    config = with_algo(said, "optimizer=rmsprop")
    assert [config.components["optimizer"].settings[name] for name in ("lr", "alpha")] == [0.25, 0.5]
    assert (set(config.applied), config.dropped) == ({"optimizer.lr=0.25", "optimizer.alpha=0.5"}, ())


def test_what_is_said_about_an_option_is_stronger_than_about_any_and_the_command_line_than_both(with_algo):
    said = {"optimizer": {"adam": {"lr": 0.5}, "any": {"lr": 0.25, "eps": 0.1}}}
    config = with_algo(said)
    assert (config.components["optimizer"].settings["lr"], config.components["optimizer"].settings["eps"]) == (0.5, 0.1)
    assert set(config.applied) == {"optimizer.lr=0.5", "optimizer.eps=0.1"}
    config = with_algo(said, "optimizer.lr=0.125")
    assert config.components["optimizer"].settings["lr"] == 0.125
    assert config.applied == ("optimizer.eps=0.1",)


def test_what_an_environment_suggests_is_weaker_than_the_algorithm(configured):
    suggested = configured("env=loadbalance").components["learner"].settings
    assert (suggested["gamma"], suggested["td_lambda"], suggested["target_update"]) == (0.95, 0.6, "soft")
    left_out = configured("env=loadbalance", "suggestions=none").components
    assert (left_out["network"].option, left_out["learner"].settings["gamma"]) == ("rnn", 0.99)
    chosen = configured("env=loadbalance", "algo=qmix_epymarl").components["learner"].settings
    assert (chosen["gamma"], chosen["td_lambda"], chosen["target_update"]) == (0.99, 0.0, "hard")


@pytest.mark.parametrize("preset", ["algo=qmix_pymarl2", "algo=qmix_epymarl", "experiment=epymarl"])
@pytest.mark.parametrize("env", ["lbf", "loadbalance"])
def test_values_of_other_projects_are_not_mixed_with_what_an_environment_suggests(configured, preset, env):
    here, elsewhere = (configured(preset, f"env={name}").components for name in (env, "two_step"))
    unused = {"target_tau"} if here["learner"].settings["target_update"] == "hard" else set[str]()
    for part in set(here) - {"env", "runner"}:
        kept, other = ({k: v for k, v in c[part].settings.items() if k not in unused} for c in (here, elsewhere))
        assert kept == other, part
