"""Tables over several runs, from files written by hand."""

import pytest
import yaml

from hymarl.reports.runs import main, read_comparison, table


def write(folder, learned, metric="jct_mean", scripted="sed", **changes):
    rows = [("learned", *x) for x in learned] + [(scripted, 60.0, 200.0), (scripted, 62.0, 400.0)]
    folder.mkdir(parents=True)
    lines = [f"policy,step,stream,episode,return,length,{metric}"]
    lines += [f"{policy},5,test,{i},{ret},100,{value}" for i, (policy, ret, value) in enumerate(rows)]
    (folder / "comparison.csv").write_text("\n".join(lines) + "\n")
    mixer = {"option": changes.pop("mixer", "qmix"), "name": "qmix", "settings": {"embed_dim": 32}}
    plain = {"agents": 2, "seed": int(folder.name), "device": "cpu", "loggers": {}, "components": {"mixer": mixer}}
    (folder / "config.yaml").write_text(yaml.safe_dump(plain | changes))
    return folder


EPISODES = [(70.0, 100.0), (72.0, 200.0)]


@pytest.fixture
def refused(capsys):
    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([*map(str, arguments)])
        assert end.value.code == 2
        *usage, error = capsys.readouterr().err.splitlines()
        assert not any("error" in line for line in usage)
        return error.partition("error: ")[2]

    return call


def test_the_learned_policy_is_averaged_over_runs_and_scripted_ones_over_episodes(tmp_path):
    first = write(tmp_path / "1", EPISODES)  # means 71 and 150
    second = write(tmp_path / "2", [(74.0, 200.0), (76.0, 300.0)])  # means 75 and 250
    text = table([read_comparison(first), read_comparison(second)], "jct_mean", "sed", markdown=False)
    learned, sed = text.splitlines()[2:4]
    assert "learned, 2 seeds" in learned
    assert "73 ± 25" in learned  # Student: 12.706 * sqrt(2 * 2**2) / sqrt(2) = 25.4
    assert "0.667 (0.500 to 0.833)" in learned
    assert "61 ± 13" in sed
    assert sed.split()[-1] == "1"


def test_a_folder_of_runs_stands_for_them_and_loggers_and_devices_may_differ(tmp_path, capsys):
    write(tmp_path / "sweep" / "1", EPISODES)
    write(tmp_path / "sweep" / "2", EPISODES, loggers={"console": {}}, device="cuda", threads=2)
    main([str(tmp_path / "sweep")])
    out = capsys.readouterr().out
    assert out.startswith("| policy")
    assert "learned, 2 seeds" in out


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"mixer": "vdn"}, "mixer (qmix, vdn)"),
        ({"agents": 4}, "agents (2, 4)"),
        ({"train": {"total_steps": 7}}, "train.total_steps (None, 7)"),
    ],
)
def test_runs_that_differ_in_more_than_the_seed_are_not_pooled(tmp_path, refused, changes, difference):
    first, second = write(tmp_path / "1", EPISODES), write(tmp_path / "2", EPISODES, **changes)
    assert refused(first, second).startswith(f"{first} and {second} differ in more than the seed: {difference}; ")


def test_the_same_run_or_seed_twice_is_refused(tmp_path, refused):
    first, other = write(tmp_path / "1", EPISODES), write(tmp_path / "other" / "1", EPISODES)
    assert refused(first, tmp_path / "1") == f"{first} is given twice; give every run once"
    assert refused(first, other).startswith(f"{first} and {other} have the same seed, 1: ")


def test_runs_without_the_usual_metric_or_baseline_have_a_table_without(tmp_path, refused, capsys):
    run = write(tmp_path / "1", EPISODES, metric="food", scripted="random")
    main([str(run)])
    assert capsys.readouterr().out.splitlines()[0].split() == ["|", "policy", "|", "return", "|"]
    main([str(run), "--metric", "food", "--baseline", "random"])
    assert "food / random" in capsys.readouterr().out
    assert refused(run, "--baseline", "sed") == "there is no policy 'sed'; --baseline is one of: learned, random"
    assert refused(run, "--metric", "x") == "there is no column 'x'; --metric is one of: return, length, food"


def test_what_is_no_finished_run_is_named(tmp_path, refused):
    run = write(tmp_path / "1", EPISODES)
    (tmp_path / "empty").mkdir()
    assert "neither a run nor a folder of runs" in refused(tmp_path / "empty")
    assert refused(tmp_path / "none") == f"{tmp_path / 'none'} is no directory"
    (run / "comparison.csv").write_text("policy,return\nlearned\n")
    assert refused(run) == f"{run}/comparison.csv:2: this is no row of test episodes"
    (run / "comparison.csv").unlink()
    assert refused(run) == f"{run} has no comparison.csv: the run did not finish"
