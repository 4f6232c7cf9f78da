"""Which runs are averaged, and which are not."""

from pathlib import Path

import pytest

from hymarl.reports.groups import group_runs
from hymarl.reports.runs import Run


def run(path, **config):
    return Run(
        path=Path(path),
        config={"algo": config.get("mixer"), "env": "board", "agents": 2, "source": "hymarl", **config},
        finished=True,
        curves={},
        tests={},
        metrics=("return",),
        wall_s=1.0,
        steps_per_s=1.0,
        doubt=None,
    )


def labels(groups):
    return [(g.task, g.method, len(g.runs)) for g in groups]


def test_what_differs_tells_groups_apart_and_what_follows_from_it_is_not_needed():
    runs = [
        run(f"{m}{a}{s}", mixer=m, agents=a, seed=s, **{"mixer.embed_dim": 32 if m == "qmix" else None})
        for m in ("vdn", "qmix")
        for a in (8, 2)
        for s in (2, 1)
    ]
    groups = group_runs(runs, [])
    assert labels(groups) == [
        ("board, 2 agents", "qmix", 2),
        ("board, 2 agents", "vdn", 2),
        ("board, 8 agents", "qmix", 2),
        ("board, 8 agents", "vdn", 2),
    ]
    assert [r.config["seed"] for r in groups[0].runs] == [1, 2]
    assert [(g.agents, g.family) for g in groups[1:3]] == [(2, "board"), (8, "board")]
    assert labels(group_runs(runs, ["mixer", "agents"])) == labels(groups)


def test_a_setting_that_tells_apart_what_names_do_not_is_in_the_label():
    runs = [run(f"{g}{s}", mixer="qmix", seed=s, **{"learner.gamma": g}) for g in (0.9, 0.99) for s in (1, 2)]
    assert [g.method for g in group_runs(runs, [])] == ["learner.gamma=0.9", "learner.gamma=0.99"]
    runs = [run("a", mixer="none", seed=1), run("b", mixer="vdn", seed=1), run("c", mixer=None, algo="coma", seed=1)]
    assert [g.method for g in group_runs(runs, ["algo", "mixer"])] == ["coma, no mixer", "none, mixer none", "vdn, vdn"]
    assert [g.method for g in group_runs(runs, [])] == ["coma", "none", "vdn"]


@pytest.mark.parametrize(
    ("values", "methods"),
    [
        ((None, "null"), ["learner.g=null", "learner.g='null'"]),
        ((True, "True"), ["learner.g=true", "learner.g=True"]),
        ((1, True), ["learner.g=1", "learner.g=true"]),
        ((1, "1"), ["learner.g=1", "learner.g='1'"]),
        (((1, 2), (1, True)), ["learner.g=(1, 2)", "learner.g=(1, True)"]),
        ((1, 1.0), ["none"]),
    ],
)
def test_values_that_differ_have_groups_and_names_of_their_own(values, methods):
    runs = [
        run(f"{i}{s}", mixer="none", seed=2 * s + i, **{"learner.g": v}) for i, v in enumerate(values) for s in (1, 2)
    ]
    for by in ([], ["learner.g"]) if len(methods) > 1 else ([],):
        assert sorted(g.method for g in group_runs(runs, by)) == sorted(methods)
    if len(methods) > 1:
        with pytest.raises(ValueError, match=r"differ in more than the seed: learner\.g"):
            group_runs(runs, ["mixer"])


def test_no_two_groups_have_one_name():
    runs = [run("a", mixer="none", algo="iql", seed=1), run("b", mixer=None, algo="iql", seed=1)]
    assert sorted(g.method for g in group_runs(runs, ["mixer"])) == ["mixer none", "no mixer"]
    runs = [run("a", mixer="x, y", critic="z", seed=1), run("b", mixer="x", critic="y, z", seed=1)]
    assert [g.method for g in group_runs(runs, ["mixer", "critic"])] == ["x, y, z", "x, y, z (2)"]


def test_tasks_stay_apart_where_methods_would_tell_them_apart_too():
    runs = [run("a", mixer="qmix", agents=2, seed=1), run("b", mixer="vdn", agents=4, seed=1)]
    assert labels(group_runs(runs, [])) == [("board, 2 agents", "qmix", 1), ("board, 4 agents", "vdn", 1)]


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"learner.gamma": 0.5}, "learner.gamma (None, 0.5)"),
        ({"agents": 4}, "agents (2, 4)"),
        ({"train.total_steps": 7}, "train.total_steps (None, 7)"),
        ({"source": "sacred"}, "source (hymarl, sacred)"),
        ({"init_from": "x"}, "init_from (None, x)"),
        ({"checkpoint_path": "x"}, "checkpoint_path (None, x)"),
        ({"load_step": 5}, "load_step (None, 5)"),
    ],
)
def test_runs_that_differ_in_a_hidden_key_are_not_averaged(changes, difference):
    with pytest.raises(ValueError, match="differ in more than the seed") as error:
        group_runs([run("one", mixer="vdn", seed=1), run("two", mixer="vdn", seed=2, **changes)], ["mixer"])
    key = difference.split(" ")[0]
    assert str(error.value).startswith(f"one and two differ in more than the seed: {difference}; ")
    assert f"report.by=[mixer,{key}]" in str(error.value)


def test_many_differences_are_counted():
    more = {f"learner.x{i}": i for i in range(9)}
    with pytest.raises(ValueError, match="and 5 more"):
        group_runs([run("one", mixer="vdn", seed=1), run("two", mixer="vdn", seed=2, **more)], ["mixer"])


def test_loggers_threads_device_and_directories_may_differ():
    free = {"device": "cuda", "threads": 2, "loggers.console": "console", "env.threads": 3}
    free |= {"runner.workers": 4, "local_results_path": "y", "applied": ("z",)}
    assert len(group_runs([run("a", mixer="vdn", seed=1), run("b", mixer="vdn", seed=2, **free)], ["mixer"])) == 1
    assert len(group_runs([run("a", mixer="vdn", seed=1), run("b", mixer="vdn", seed=2, **free)], [])) == 1


def test_the_same_seed_twice_is_refused():
    with pytest.raises(ValueError, match="a and b have the same seed, 1: they are not two samples"):
        group_runs([run("a", mixer="vdn", seed=1), run("b", mixer="vdn", seed=1)], [])


def test_an_unknown_key_is_refused():
    with pytest.raises(ValueError, match=r"report.by: no run has the key 'mixr'; did you mean 'mixer'"):
        group_runs([run("a", mixer="vdn", seed=1)], ["mixr"])
