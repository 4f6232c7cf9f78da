"""Looking at environments from the command line: ``check=true`` and ``render=``."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hymarl.app.check import check_metrics
from hymarl.components.rng import Stream, keys
from hymarl.components.spec import EnvSpec
from hymarl.envs.contract.scene import GridScene, LevelScene, PictureScene, Thing
from hymarl.policies.random import RandomPolicy
from hymarl.registry import ConfigError, find
from hymarl.reports.animation import to_text, write_gif
from hymarl.runners.rollout import record_rollout

GAMES = Path(__file__).parents[1] / "envs"
SHORT = ("eval.test_episodes=1", "eval.references=false")


def test_an_environment_is_checked_and_nothing_is_left(hymarl, tmp_path):
    seen = hymarl(tmp_path, "check=true", "env=goal_swap", "agents=3", "env.episode_limit=9")
    assert (seen.code, seen.err) == (0, "")
    assert seen.out.startswith("env=goal_swap keeps the contract of environments (")
    assert "agents  3\n" in seen.out
    assert "observation  8\n" in seen.out
    assert not list(tmp_path.iterdir())


def test_what_an_environment_breaks_is_listed(hymarl, extension, tmp_path):
    seen = hymarl(tmp_path, "check=true", f"hydra.searchpath=['file://{extension}/conf']", "env=broken")
    assert seen.code == 2
    first, *findings = seen.err.splitlines()
    assert first == "env=broken breaks the contract of environments:"
    assert findings[:2] == [
        "- reset returns a reward: return zeros, nothing was done yet",
        "- an equal seed and equal actions gave another reward at time 1: derive all randomness from the seed given to "
        "reset, and reset everything that an episode changes",
    ]
    assert not list(tmp_path.iterdir())


def test_a_check_is_about_the_environment_alone(hymarl, tmp_path):
    others = ("policy=random", "render=gif", "seed=3", "train.total_steps=5")
    seen = hymarl(tmp_path, "check=true", "env=goal_swap", *others)
    assert seen.code == 2
    assert seen.err == "check=true looks at an environment alone; leave out policy, render, seed, train.total_steps\n"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "env",
    [
        "goal_swap",
        "loadbalance",
        *(pytest.param(grid, marks=pytest.mark.slow) for grid in ("meeting", "foraging25", "predator_prey")),
    ],
)
def test_an_episode_becomes_a_moving_picture(hymarl, tmp_path, env):
    seen = hymarl(tmp_path, f"env={env}", "env.episode_limit=3", "policy=random", "render=gif", *SHORT)
    assert (seen.code, seen.err) == (0, "")
    (picture,) = tmp_path.rglob(f"{env}_random.gif")
    with Image.open(picture) as image:
        assert image.n_frames == 4
        frames = []
        for n in range(4):
            image.seek(n)
            frames.append(np.asarray(image.convert("RGB")))
    assert any((one != other).any() for one, other in pairwise(frames))


def test_environments_of_other_libraries_are_told_to_draw(hymarl, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(GAMES)
    game = ("env=pettingzoo", "env.entry_point=parallel_games:Uneven", "policy=random", *SHORT, "hydra.run.dir=run")
    seen = hymarl(tmp_path, *game, "render=gif")
    assert (seen.code, seen.err) == (0, "")
    with Image.open(tmp_path / "run" / "pettingzoo_random.gif") as image:
        assert image.n_frames >= 2
    assert "render_mode" not in (tmp_path / "run" / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["env=pymarl", "env.entry_point=pymarl_games:Duel"],
            "env=pymarl cannot be rendered: there is no picture with render_mode=None: set 'env.kwargs={render",
        ),
        (
            ["env=pettingzoo", "env.entry_point=parallel_games:Uneven", "env.kwargs={render_mode: human}"],
            "env=pettingzoo cannot be rendered: there is no picture with render_mode=human: set 'env.kwargs=",
        ),
    ],
)
def test_environments_of_other_libraries_that_do_not_draw(hymarl, tmp_path, monkeypatch, arguments, sentence):
    monkeypatch.syspath_prepend(GAMES)
    seen = hymarl(tmp_path, *arguments, "policy=random", *SHORT, "render=gif")
    assert (seen.code, seen.out) == (2, "")
    assert seen.err.startswith(sentence)
    assert not list(tmp_path.iterdir())


def test_an_episode_is_shown_in_the_terminal(hymarl, tmp_path):
    seen = hymarl(tmp_path, "env=goal_swap", "env.episode_limit=2", "policy=random", "render=terminal", *SHORT)
    assert (seen.code, seen.err) == (0, "")
    start = [
        "  0   .   .   .  (1)",
        "  .   .   .   .   .",
        "  .   .   .   .   .",
        "  .   .   .   .   .",
        " (0)  .   .   .   1",
    ]
    assert [line.split() for line in seen.out.splitlines()[:5]] == [line.split() for line in start]
    assert seen.out.count("goal_swap random, step") == 3


@pytest.mark.parametrize("env", ["goal_swap", "climbing"])
def test_a_training_run_makes_a_film_of_its_test_if_the_environment_can_be_shown(hymarl, tmp_path, env):
    small = "logger=[]", "train.total_steps=2", "eval.episodes=1", "eval.references=false", "hydra.run.dir=run"
    seen = hymarl(tmp_path, f"env={env}", "render=gif", *small, *SHORT)
    assert (seen.code, seen.err) == (0, "")
    films = [path.name for path in (tmp_path / "run").glob("*.gif")]
    assert films == (["goal_swap_learned.gif"] if env == "goal_swap" else [])
    assert ("no film: env=climbing cannot be rendered" in seen.out) == (env == "climbing")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["env=goal_swap", "render=terminal"], "render=terminal shows an evaluated policy; say which: evaluate=<run "),
        (["env=climbing", "policy=random", "render=gif"], "env=climbing cannot be rendered: this environment has no "),
    ],
)
def test_what_cannot_be_shown_is_refused(hymarl, tmp_path, arguments, sentence):
    seen = hymarl(tmp_path, *arguments)
    assert seen.code == 2
    assert sentence in seen.err
    assert not list(tmp_path.iterdir())


def test_a_film_is_the_episode_that_was_played(component):
    env = component("env", "goal_swap", None, 1, episode_limit=9)
    seen = record_rollout(env, RandomPolicy(env.spec), keys(0, Stream.TEST, 0))
    assert len(seen.scenes) == len(seen.rewards) == 10
    assert seen.rewards[0] == 0
    assert [scene.caption for scene in seen.scenes] == [f"step {t}" for t in range(10)]
    again = record_rollout(env, RandomPolicy(env.spec), keys(0, Stream.TEST, 0))
    assert again == seen


def test_things_are_where_they_should_be_in_text():
    scene = GridScene(2, 3, (Thing(0, 1, "G", "black", "ring"), Thing(1, 2, "a", "tab:blue")))
    assert to_text(scene) == " .  (G)  .\n .   .   a"
    foods = GridScene(1, 2, (Thing(0, 0, "2", "black", "square"), Thing(0, 1, "2", "tab:blue")))
    assert to_text(foods) == "[2]  2"
    assert to_text(LevelScene(("one", "two"), (3.0, 0.0), "jobs", 1.5)) == "jobs, at 1.50 s\none    3.0 ###\ntwo    0.0"
    odd = to_text(LevelScene(("a", "b"), (float("nan"), float("inf")), "jobs", 0.0))
    assert odd == f"jobs, at 0.00 s\na    nan\nb    inf {'#' * 40}"
    with pytest.raises(ValueError, match="choose render=gif"):
        to_text(PictureScene(np.zeros((2, 2, 3), np.uint8)))


def test_things_have_their_colors_in_the_picture(tmp_path):
    scenes = [GridScene(2, 3, (Thing(row, 2, "", "tab:blue", "square"),)) for row in range(2)]
    write_gif(scenes, ["one", "two"], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        for row in range(2):
            image.seek(row)
            pixels = np.asarray(image.convert("RGB")).astype(int)
            height = (pixels.shape[0] - 48) // 2
            middles = pixels[height // 2 : 2 * height : height, 24:144:48]
            blue = np.abs(middles - np.array([31, 119, 180])).sum(axis=-1) < 30
            assert blue[row].tolist() == [False, False, True]
            assert not blue[1 - row].any()


def test_own_pictures_are_taken_as_they_are(tmp_path):
    shades = [np.full((4, 5, 3), shade, np.uint8) for shade in (0, 255)]
    write_gif([PictureScene(pixels) for pixels in shades], ["", ""], tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.size == (5, 4 + 24)  # a line for the caption
        for n, shade in enumerate((0, 255)):
            image.seek(n)
            assert (np.asarray(image.convert("RGB"))[:4] == shade).all()


def test_curves_are_uncovered_in_time(tmp_path):
    scenes = [LevelScene(("a", "b"), (5.0, float(t)), "jobs", t * 0.5) for t in range(6)]
    write_gif(scenes, ["caption"] * 6, tmp_path / "a.gif")
    inked = []
    with Image.open(tmp_path / "a.gif") as image:
        for n in range(6):
            image.seek(n)
            pixels = np.asarray(image.convert("RGB")).astype(int)
            inked.append(int((np.abs(pixels - np.array([31, 119, 180])).sum(axis=-1) < 30).sum()))
    assert all(a < b for a, b in pairwise(inked))


def test_metrics_of_an_environment_and_of_noise_of_one_name_are_refused(configured):
    config = configured("env=two_step", "policy=parameter_noise")
    with pytest.raises(ConfigError, match=r"env=two_step: .*'distance'"):
        check_metrics(config, EnvSpec(2, 2, 1, 1, 1, metric_names=("distance",)))


def test_metrics_of_learner_and_selector_of_one_name_are_refused(monkeypatch, configured):
    config, q = configured("env=two_step"), find("learner", "q")
    for name in ("epsilon", "updates", "step", "loss"):
        monkeypatch.setattr(q, "metric_names", ("loss", "grad_norm", name))
        with pytest.raises(ConfigError, match=f"learner=q: its metric '{name}' has the name of a column"):
            check_metrics(config, EnvSpec(2, 2, 1, 1, 1))
