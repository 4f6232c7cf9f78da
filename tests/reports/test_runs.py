"""Finding and reading runs: of this program, of PyMARL and of EPyMARL."""

import json
import math

import pytest

from hymarl.reports.runs import Found, find_runs, read_config, read_run


def read(folder, source="hymarl", metrics=("return", "jct_mean")):
    found = Found(folder, source)
    return read_run(found, read_config(found), metrics)


def test_folders_and_patterns_stand_for_the_runs_in_them_each_once(tmp_path, write_run, write_sacred):
    one, two = write_run(tmp_path / "sweep" / "a" / "1"), write_run(tmp_path / "sweep" / "2")
    write_run(one / "evaluations" / "x")  # inside of a run
    (two / "tensorboard").mkdir()
    (two / "tensorboard" / "events.out.tfevents.1").touch()
    sacred = write_sacred(tmp_path / "old" / "7", epymarl=True)
    copy = write_sacred(tmp_path / "old" / "8", epymarl=True)
    (copy / "info.json").write_text(json.dumps({"run_directory": str(one)}))
    assert [f.path for f in find_runs([str(tmp_path / "sweep"), str(two)])] == [two, one]
    assert [f.path for f in find_runs([str(tmp_path / "s*" / "[0-9]")])] == [two]
    assert find_runs([str(tmp_path / "old")]) == [Found(sacred, "sacred")]
    assert find_runs([str(copy)]) == [Found(copy, "sacred")]
    assert [f.path for f in find_runs([str(one / "evaluations")])] == [one / "evaluations" / "x"]


def test_links_are_followed_but_not_in_circles(tmp_path, write_run):
    run = write_run(tmp_path / "real" / "1")
    links = tmp_path / "links"
    links.mkdir()
    (links / "one").symlink_to(run)
    (links / "again").symlink_to(links)
    (links / "out").symlink_to(tmp_path)
    (found,) = find_runs([str(links)])
    assert found.path.resolve() == run
    assert len(find_runs([str(links / "*"), str(run)])) == 1


def test_a_pattern_does_not_enter_the_runs_that_it_matches(tmp_path, write_run):
    run = write_run(tmp_path / "sweep" / "1")
    inner = write_run(run / "evaluations" / "x")
    assert [f.path for f in find_runs([str(tmp_path / "sweep" / "**")])] == [run]
    assert [f.path for f in find_runs([str(tmp_path / "sweep" / "*" / "evaluations" / "*")])] == [inner]


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("none", "does not exist"),
        ("empty", "holds no run"),
        ("e*", "matches"),
        ("a" * 5000, "a{100}… does not exist"),
        ("a\0b", "does not exist"),
    ],
)
def test_a_path_without_runs_is_refused(tmp_path, path, answer):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=answer):
        find_runs([str(tmp_path / path)])


def test_what_a_run_left_behind(tmp_path, write_run):
    run = read(write_run(tmp_path / "1", agents=None, gamma=0.9))
    assert run.config["mixer"] == run.config["algo"] == "qmix"
    assert run.config["learner.gamma"] == 0.9
    assert run.config["mixer.embed_dim"] == 32
    assert run.config["agents"] == 3  # from protocol.json
    assert run.config["source"] == "hymarl"
    assert run.finished
    assert run.curves["return"].steps.tolist() == [0, 100, 200]
    assert run.curves["return"].values.tolist() == [2, 5, 9]
    assert run.curves["jct_mean"].values.tolist() == [98, 95, 91]
    assert run.tests["sed"]["return"].tolist() == [5, 5]
    assert run.metrics == ("return", "length", "jct_mean")
    assert (run.wall_s, run.steps_per_s) == (13, 25)


def test_steps_per_second_are_without_validations(tmp_path, write_run):
    folder = write_run(tmp_path / "1")
    rows = "100,10.0,10.0,8.0\n200,50.0,2.0,0.0\n"  # 100 steps each, in 2 seconds without the validation
    (folder / "timing.csv").write_text(f"step,env_steps_per_s,wall_s,evaluate_s\n{rows}")
    run = read(folder)
    assert (run.wall_s, run.steps_per_s) == (12, 50)


def test_a_cut_last_line_does_not_count(tmp_path, write_run):
    path = write_run(tmp_path / "1") / "comparison.csv"
    path.write_text(path.read_text().removesuffix("\n")[:-1])  # ends inside of a number
    assert read(tmp_path / "1").tests["sed"]["return"].tolist() == [5]


def test_a_trained_run_without_status_is_doubted(tmp_path, write_run):
    (write_run(tmp_path / "1") / "status.json").unlink()
    run = read(tmp_path / "1")
    assert run.finished
    assert run.doubt == "has no status.json: as it was tested, it counts as finished"


def test_episodes_without_a_value_do_not_count(tmp_path, write_run):
    folder = write_run(tmp_path / "1")
    head = "step,stream,episode,return,length,jct_mean"
    text = f"{head}\n0,validation,0,1,10,\n0,validation,1,3,10,4\n5,validation,0,1,10,\n"
    (folder / "evaluations.csv").write_text(text)
    run = read(folder)
    assert run.curves["return"].values.tolist() == [2, 1]
    assert run.curves["jct_mean"].steps.tolist() == [0]


def test_a_scripted_run_is_called_what_played(tmp_path, write_run):
    folder = write_run(tmp_path / "1", tests={"sed": (1.0, 2.0)}, policy="sed")
    (folder / "evaluations.csv").unlink()
    run = read(folder)
    assert run.policy == run.config["algo"] == "sed"


@pytest.mark.parametrize(
    ("file", "content", "answer"),
    [
        ("config.yaml", None, "has no config.yaml: the run was ended before it began"),
        ("config.yaml", "a: [", "cannot be read"),
        ("config.yaml", "seed: 1\n", "is not the configuration of a run"),
        ("config.yaml", "format: 2\ncomponents: {}\n", "its checksum is wrong or missing"),
        ("config.yaml", b"\xff\xfe\x00", "cannot be read"),
        ("evaluations.csv", "step,stream,return\n1,validation,x\n", "evaluations.csv:2: 'x' is not a number"),
        ("evaluations.csv", "step,stream,return\n1,validation\n", "2 cells instead of 3"),
        ("evaluations.csv", "", "has no column of steps"),
        ("comparison.csv", "policy,return\nlearned\n", "comparison.csv:2: this is no row of test episodes"),
        ("comparison.csv", "x\n", "has no column of policies"),
        ("timing.csv", "step,env_steps_per_s,wall_s\n1,x,2\n", "timing.csv is damaged"),
        ("status.json", "{", "status.json is damaged"),
    ],
)
def test_a_damaged_run_is_answered_with_a_sentence(tmp_path, write_run, file, content, answer):
    folder = write_run(tmp_path / "1")
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=r".") as error:
        read(folder)
    assert answer in str(error.value)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("epymarl", [False, True])
def test_sacred_runs_of_pymarl_and_epymarl(tmp_path, write_sacred, epymarl):
    run = read(write_sacred(tmp_path / "1", epymarl=epymarl, seed=3), "sacred")
    assert run.curves["return"].steps.tolist() == [0, 100, 200]
    assert run.curves["return"].values.tolist() == [1, 5, 9]
    assert {key: run.config[key] for key in ("algo", "env", "seed", "source")} == {
        "algo": "qmix",
        "env": "3m",
        "seed": 3,
        "source": "sacred",
    }
    assert run.finished
    assert (run.wall_s, run.steps_per_s) == (100, 2)
    assert not read(write_sacred(tmp_path / "2", epymarl=epymarl, status="FAILED"), "sacred").finished


def test_damaged_sacred_runs(tmp_path, write_sacred):
    folder = write_sacred(tmp_path / "1", epymarl=False)
    (folder / "info.json").write_text('{"test_return_mean": [{"py/reduce": 1}], "test_return_mean_T": [1]}')
    with pytest.raises(ValueError, match="not lists of numbers"):
        read(folder, "sacred")
    never = '{"test_return_mean": [NaN, NaN], "test_return_mean_T": [1, 2]}'
    for content in ("{}", never):
        (folder / "info.json").write_text(content)
        with pytest.raises(ValueError, match="no metrics named test_…_mean"):
            read(folder, "sacred")
    (folder / "run.json").write_text("{")
    with pytest.raises(ValueError, match=r"run.json is damaged"):
        read(folder, "sacred")


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("qmix__2024-01-31_12-00-00", {"algo": "qmix"}),
        ("vdn_ns_seed7_3m_2024-01-31 12:00:00.123", {"algo": "vdn_ns", "seed": 7, "env": "3m"}),
        ("mine", {"algo": "mine"}),
    ],
)
def test_event_files_of_pymarl_and_epymarl(tmp_path, name, config):
    from torch.utils.tensorboard import SummaryWriter

    folder = tmp_path / name
    with SummaryWriter(str(folder)) as writer:
        for step, value in ((10, 1.0), (20, 2.5)):
            writer.add_scalar("test_return_mean", value, step)
            writer.add_scalar("loss", math.pi, step)
    assert find_runs([str(tmp_path)]) == [Found(folder, "tensorboard")]
    run = read(folder, "tensorboard")
    assert run.config == {**config, "source": "tensorboard"}
    assert run.curves["return"].steps.tolist() == [10, 20]
    assert run.curves["return"].values.tolist() == [1, 2.5]
    assert run.metrics == ("return",)
    assert run.finished
    (events,) = folder.iterdir()
    events.write_bytes(events.read_bytes()[:-5])
    assert not read(folder, "tensorboard").finished
