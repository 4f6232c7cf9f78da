"""What a report says about runs that are not as they seem, and that its numbers do not hide it."""

import math

import pytest

from hymarl.registry import ConfigError

NAN = math.nan


def line(end, steps=(0, 100, 200)):
    """A curve of one episode each, from 0 to an end."""
    return [(step, (end * step / steps[-1],)) for step in steps]


def by_method(rows):
    return {row["method"]: row for row in rows}


def test_a_ratio_is_to_the_episodes_that_the_run_itself_was_compared_on(tmp_path, write_run, report):
    write_run(tmp_path / "r" / "1", mixer="qmix", tests={"learned": (9.0,), "sed": (5.0,)}, eval={"seed": 0})
    write_run(tmp_path / "r" / "2", mixer="vdn", tests={"learned": (9.0,), "sed": (50.0,)}, eval={"seed": 7})
    made = report(tmp_path / "r")
    final = by_method(made.table("final"))
    assert [float(final[method]["return / sed"]) for method in ("qmix", "vdn")] == [9 / 5, 9 / 50]
    assert "Methods on board were not evaluated alike: they differ in eval.seed" in made.note
    assert (
        f"did not play the same test episodes in all runs: rows and lines are of those in the first run, which differ "
        f"from {tmp_path / 'r' / '2'}'s" in made.note
    )


@pytest.mark.parametrize(
    ("mixer", "differs", "note"),
    [
        ("vdn", {"total_steps": 300}, "were not trained equally long: they differ in train.total_steps"),
        ("vdn", {"eval": {"episodes": 9}}, "were not evaluated alike: they differ in eval.episodes"),
        ("vdn", {"curve": line(9.0, (0, 100, 500))}, "from 200 steps (qmix) to 500 (vdn)"),
        (
            "qmix",
            {"curve": line(9.0, (0, 100, 500))},
            "ends at 200 steps, where {one} ends; others of its runs go on to 500",
        ),
        ("qmix", {"curve": line(9.0, (500, 600))}, "has no learning curve of return, jct_mean: its runs have no step"),
        ("qmix", {"threads": 8}, "averaged and compared though these differ: threads (1, 8)"),
        ("qmix", {"status": "interrupted"}, "Not finished, and compared as far as they got: {two}"),
        ("qmix", {"seed": None}, "as the seeds are not known of 2 runs of qmix (board)"),
        ("vdn", {}, "Groups of a single run have no interval"),
        ("qmix", {}, "There are groups of only 2 runs: bootstrap intervals of so few are too narrow: about 50 of 100"),
    ],
)
def test_what_hides_behind_a_mean_is_said(tmp_path, write_run, report, mixer, differs, note):
    seed = {"seed": differs.get("seed", 1)}
    one = write_run(tmp_path / "r" / "1", curve=line(8.0), **seed)
    two = write_run(tmp_path / "r" / "2", **{"mixer": mixer, "seed": 2, "curve": line(9.0)} | differs)
    made = report(tmp_path / "r", unfinished=True)
    assert note.format(one=one, two=two) in made.note
    assert [row["finished"] for row in made.table("runs")] == ["yes", "no" if "status" in differs else "yes"]


def test_nothing_is_said_of_runs_that_are_alike(tmp_path, write_run, report):
    for seed in range(10):
        write_run(tmp_path / f"{seed}", seed=seed)
    assert report(tmp_path).notes == ()


def test_a_single_run_does_not_hide_that_others_are_few(tmp_path, write_run, report):
    for seed, mixer in enumerate(("qmix", "vdn", "vdn", "vdn")):
        write_run(tmp_path / f"{seed}", seed=seed, mixer=mixer)
    note = report(tmp_path).note
    assert "Groups of a single run" in note
    assert "groups of only 3 runs" in note
    assert "Too few runs for any difference to be shown at 5 %" in note


def test_runs_without_a_test_leave_the_others_their_scores(tmp_path, write_run, report):
    write_run(tmp_path / "r" / "1", seed=1, tests={"learned": (50.0,), "sed": (5.0,)})
    two = write_run(tmp_path / "r" / "2", seed=2, tests={})
    made = report(tmp_path / "r", metrics=["return"])
    assert [row["return"] for row in made.table("runs")] == ["50.0", "no test"]
    (row, _) = made.table("final")
    assert (row["runs"], float(row["return"])) == ("1 of 2", 50)
    assert f"Without a score, as they have no test: {two}; report.final=last" in made.note
    assert [row["return"] for row in report(tmp_path / "r", final="last").table("runs")] == ["9.0", "9.0"]


def test_runs_that_diverged_are_counted_out(tmp_path, write_run, report):
    for seed, end in enumerate((4.0, NAN, 8.0)):
        write_run(tmp_path / "r" / f"{seed}", seed=seed, tests={"learned": (end,), "sed": (5.0,)})
    made = report(tmp_path / "r")
    row = made.table("final")[0]
    assert (row["runs"], float(row["return"])) == ("2 of 3", 6)
    assert f"In no mean of return, as they have no final value of it: {tmp_path / 'r' / '1'}." in made.note


@pytest.mark.parametrize(("score", "baseline"), [(-5.0, -10.0), (3.0, 0.0), (-3.0, 5.0), (3.0, NAN)])
def test_what_is_not_above_zero_has_no_ratio(tmp_path, write_run, report, score, baseline):
    for mixer, better in (("qmix", 1.0), ("vdn", 0.0)):
        for agents in (2, 4):
            tests = {"learned": (score + better,), "sed": (baseline,)}
            write_run(tmp_path / "r" / f"{mixer}{agents}", mixer=mixer, agents=agents, tests=tests)
    made = report(tmp_path / "r", normalize="baseline", metrics=["return"])
    assert "return / sed" not in made.table("final")[0]
    assert "report.normalize=baseline: not every run has a ratio of return per episode to sed" in made.note
    overall = by_method(made.table("overall"))
    assert (overall["qmix"]["mean"], overall["vdn"]["mean"]) == ("1.0", "0.0")
    assert not any("nan" in row["level"] for row in made.table("efficiency"))


def test_over_all_tasks_every_task_counts_the_same(tmp_path, write_run, report):
    for mixer, seeds in (("qmix", {2: 4, 4: 1}), ("vdn", {2: 4, 4: 4})):
        for agents, n in seeds.items():
            for seed in range(n):
                tests = {"learned": (100.0 if agents == 2 else 0.0,)}
                write_run(tmp_path / f"{mixer}{agents}{seed}", mixer=mixer, agents=agents, seed=seed, tests=tests)
    made = report(tmp_path, normalize="none", metrics=["return"])
    assert {row["mean"] for row in made.table("overall")} == {"50.0"}


def test_a_single_method_is_not_measured_by_its_own_seeds(tmp_path, write_run, report):
    for agents in (2, 4):
        for seed in (1, 2):
            write_run(tmp_path / "r" / f"{agents}{seed}", agents=agents, seed=seed, curve=line(9.0 + seed))
    names = {path.name for path in report(tmp_path / "r", formats=["csv", "png"]).files}
    assert "scaling.png" in names
    assert not {"overall.csv", "performance_profile.png"} & names


@pytest.mark.parametrize("end", [0.0, -5.0])
def test_what_was_not_learned_has_no_levels(tmp_path, write_run, report, end):
    write_run(tmp_path / "r" / "1", curve=[(0, (0.0,)), (200, (end,))])
    rows = report(tmp_path / "r").table("efficiency")
    assert [row["level"] for row in rows] == ["sed: 5"]


def test_a_method_without_the_metric_is_said_to_lack_it(tmp_path, write_run, report):
    for mixer in ("qmix", "vdn", "none"):
        for agents in (2, 4)[: 1 if mixer == "none" else 2]:
            tests = {"learned": (NAN if (mixer, agents) == ("vdn", 4) else 1.0,), "sed": (5.0,)}
            write_run(tmp_path / "r" / f"{mixer}{agents}", mixer=mixer, agents=agents, tests=tests)
    note = report(tmp_path / "r").note
    assert "since it was not run on all of them: none." in note
    assert "since it has no final return on all of them: vdn." in note


def test_that_the_best_of_many_was_chosen_by_the_same_scores_is_said(tmp_path, write_run, report):
    for i in range(6):
        write_run(tmp_path / f"{i}", mixer=f"m{i}", curve=line(float(i)))
    made = report(tmp_path)
    assert {row["method"] for row in made.table("improvement")} == {"m5"}
    assert "the best scores of these same runs, which favors it" in made.note


def test_what_an_earlier_report_left_is_removed_and_nothing_else(tmp_path, write_run, report):
    for mixer in ("qmix", "vdn"):
        write_run(tmp_path / "r" / mixer, mixer=mixer)
    formats = ["html", "png", "csv"]
    report(tmp_path / "r", formats=formats)
    mine = tmp_path / "out" / "figures" / "mine.png"
    mine.touch()
    made = report(tmp_path / "r", formats=formats, where="mixer==vdn")
    assert {path for path in (tmp_path / "out").rglob("*") if path.is_file()} == {*made.files, mine}
    assert not (tmp_path / "out" / "tables" / "improvement.csv").exists()
    report(tmp_path / "r", formats=["csv"])
    assert not (tmp_path / "out" / "report.html").exists()


@pytest.mark.parametrize("metric", ["policy", "stream", "episode", "step"])
def test_what_measures_nothing_is_no_metric(tmp_path, write_run, report, metric):
    write_run(tmp_path / "r" / "1")
    with pytest.raises(ConfigError, match=f"no run has '{metric}'; choose of: jct_mean, length, return"):
        report(tmp_path / "r", metrics=[metric])
