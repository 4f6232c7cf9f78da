"""Command lines of PyMARL and what is answered."""

import pytest

from hymarl.app.names import PYMARL, PYMARL_OPTIONS
from hymarl.app.options import GROUPS, options
from hymarl.app.pymarl import translate


@pytest.mark.parametrize(
    ("typed", "ours"),
    [
        ("--config=qmix --env-config=sc2 with env_args.map_name=2s3z", "algo=qmix env=smac env.kwargs.map_name=2s3z"),
        ("--config qmix_beta --env-config sc2", "algo=qmix env=smac"),
        (
            "--config=vdn --env-config=gymma with env_args.time_limit=25 env_args.key=lbforaging:Foraging-8x8-2p-3f-v3",
            "algo=vdn env.episode_limit=25 env=lbf env.task=Foraging-8x8-2p-3f-v3 suggestions=none",
        ),
        (
            "--config=qmix with lr=0.0005 t_max=2050000 use_cuda=False obs_agent_id=True batch_size_run=8 mixer=None",
            "algo=qmix optimizer.lr=0.0005 train.total_steps=2050000 device=cpu controller.agent_id=true "
            "runner.n_envs=8 mixer=none",
        ),
        ("--config=noisemix_smac --env-config=sc2 with mac=noise_mac", "algo=maven env=smac controller=latent"),
        ("with checkpoint_path=results/a evaluate=True", "evaluate=results/a"),
        ("--config=qmix with env=two_step seed=3", "algo=qmix env=two_step seed=3"),
    ],
)
def test_a_command_line_is_translated(typed, ours):
    assert translate(typed.split()) == ours


def test_what_has_no_counterpart_is_said():
    assert translate(["--config=maddpg", "with", "seed=3", "critic_lr=0.1"]) == (
        "seed=3 (without --config=maddpg, critic_lr: there is nothing like it here)"
    )


def test_a_command_line_of_ours_is_no_other():
    assert translate(["algo=qmix", "env=two_step", "--cfg", "job"]) is None


def test_names_stand_for_settings_and_options_that_exist(configured):
    cfg = configured("env=loadbalance", "optimizer=rmsprop", "network=rnn", "controller.agent_id=true").plain()
    settings = {f"{group}.{name}" for group, part in cfg["components"].items() for name in part["settings"]}
    settings |= {f"{section}.{name}" for section in ("train", "eval") for name in cfg[section]}
    known = {*settings, *GROUPS, *cfg, "evaluate", "env.kwargs.map_name"}
    assert set(PYMARL.values()) <= known
    assert set(PYMARL_OPTIONS.values()) <= {option for group in GROUPS for option in options(group)}


def test_the_answer_is_a_mistake_with_our_command_line(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "--config=qmix", "--env-config=sc2", "with", "env_args.map_name=2s3z")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == (
        "that is a command line of PyMARL; here it reads: python main.py algo=qmix env=smac env.kwargs.map_name=2s3z\n"
    )
    assert not any(tmp_path.iterdir())
