"""The configuration in a run's directory: written, read back, damaged, of the first release, of somebody else."""

import shutil
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import yaml

from hymarl.app.config import FORMAT
from hymarl.app.saved import from_first_release, load_saved, to_yaml
from hymarl.components.added_settings import ADDED
from hymarl.components.files import checksum
from hymarl.registry import ConfigError

FIRST_RELEASE = Path(__file__).parent / "first_release"
EXPERIMENTS = sorted(
    file.name.removesuffix(".yaml")
    for file in (resources.files("hymarl.conf") / "experiment").iterdir()
    if file.name.endswith(".yaml")
)


@pytest.fixture(scope="module")
def today(configured):
    """What a command line without anything composes to."""
    return configured()


@pytest.fixture(scope="module")
def plain(configured):
    """The configuration of a run of two_step, as it is written."""
    return configured("env=two_step", "logger=[console]").plain()


@pytest.fixture
def write(plain, tmp_path):
    """Write a run's configuration, changed but with the checksum of what is written: ``write(device="cuda")``."""

    def call(form=FORMAT, **changes):
        changed = plain | {"format": form} | changes
        text = yaml.safe_dump({key: value for key, value in changed.items() if value is not ...})
        (tmp_path / "config.yaml").write_text(f"{text}# checksum: {checksum(text.encode())}\n")
        return tmp_path

    return call


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=lb_unknown", "algo=qmix_epymarl"],
        ["env=mpe_tag"],
        *(pytest.param([f"experiment={experiment}"], marks=pytest.mark.slow) for experiment in EXPERIMENTS),
    ],
    ids=str,
)
def test_a_saved_configuration_is_read_back_as_it_was(configured, today, tmp_path, overrides):
    config = configured(*overrides, "seed=7", "optimizer.eps=1.0e-8", "logger=[console]", "eval.references=false")
    assert (config.seed, config.eval.references, list(config.loggers)) == (7, False, ["console"])
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    saved = load_saved(tmp_path, today)
    assert saved.plain() == config.plain()
    assert saved.components == config.components


@pytest.mark.parametrize("overrides", [(), ("network=rnn",), ("env=rware", "algo=iql")], ids=str)
def test_settings_that_were_added_since_a_run_was_made_mean_what_it_did(configured, today, tmp_path, overrides):
    """All of them: a configuration without any is read back as the default one, which has them all."""
    config = configured("env=two_step", "logger=[sacred]", *overrides)
    plain, removed = config.plain(), set()
    for group, added in ADDED.items():
        settings = {**plain["components"], "logger": plain["loggers"]["sacred"]}[group]["settings"]
        removed |= {(group, name) for name in added if settings.pop(name, ...) is not ...}
    del plain["joint"]
    text = yaml.safe_dump(plain)
    (tmp_path / "config.yaml").write_text(f"{text}# checksum: {checksum(text.encode())}\n")
    assert removed >= {("controller", "normalize_obs"), ("logger", "observer")}
    saved = load_saved(tmp_path, today, to_resume=True)
    assert (saved.components, saved.loggers) == (config.components, config.loggers)


def test_settings_that_the_first_release_did_not_have_are_those_of_the_option(configured, today, plain):
    for now in (today.plain(), configured("env=lb_unknown").plain(), plain):
        settings = dict(now["components"]["env"]["settings"])
        settings.pop("rule", None)
        components = {
            group: {**component, "settings": settings if group == "env" else component["settings"]}
            for group, component in now["components"].items()
            if group != "replay"
        }
        old = {**now, "components": components}
        assert from_first_release(old, today.plain())["components"]["env"] == now["components"]["env"]
        assert from_first_release(old, today.plain())["components"]["replay"] == today.plain()["components"]["replay"]


WRONG_TEXTS = [
    "x: 1",
    "- 1",
    "a: [",
    "algo: qmix",
    "",
    b"\xff\xfe\x00",
    "a: &a [*a]",
    "[" * 600,
    "!!python/name:os.system",
]


@pytest.mark.parametrize("text", WRONG_TEXTS, ids=range(len(WRONG_TEXTS)))
def test_a_file_that_is_no_saved_configuration_is_refused(today, tmp_path, text):
    (tmp_path / "config.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError, match=r"config\.yaml is not the configuration of a run") as refused:
        load_saved(tmp_path, today)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"components": None}, "components must be a section with keys of its own, got None"),
        ({"components": {"env": None}}, "components.env.settings must be a section with keys of its own, got None"),
        ({"loggers": {"console": {"option": 1, "name": "x", "settings": {}}}}, "loggers.console: option and name must"),
        ({"components": {}}, "it has no 'env'"),
        ({"train": [1]}, "train must be a section with keys of its own, got [1]"),
        ({"train": {"total_steps": 1}}, "train: no value for "),
        ({"eval": {}}, "eval: no value for "),
        ({"seed": "abc"}, "seed has the wrong type: "),
        ({"seed": None}, "seed has the wrong type: "),
        ({"seed": -4}, "seed must be at least 0, got -4"),
        ({"seed": ...}, "it has no 'seed'"),
        ({"more": 1}, "unknown key more"),
        ({"form": FORMAT + 1}, f"has the format {FORMAT + 1}, of a newer HyMARL than this one; install that"),
        ({"form": "x"}, "has the format x, of a newer HyMARL"),
    ],
    ids=str,
)
def test_a_saved_configuration_of_another_form_is_refused(today, write, changes, sentence):
    with pytest.raises(ConfigError) as refused:
        load_saved(write(**changes), today)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_changed_configuration_is_noticed(today, write):
    path = write() / "config.yaml"
    text = path.read_text()
    load_saved(path.parent, today)
    for changed in (text.replace("gamma: 0.99", "gamma: 0.98"), text[:-5], text.replace("# checksum: ", "# checksum:")):
        assert changed != text
        path.write_text(changed)
        with pytest.raises(ConfigError, match=r"config\.yaml (was changed or damaged since|is not the c)"):
            load_saved(path.parent, today)


def test_every_flipped_bit_of_a_configuration_is_noticed(today, write):
    path = write() / "config.yaml"
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        with pytest.raises(ConfigError):
            load_saved(path.parent, today)


def test_a_run_that_never_began_is_said_to_be_one(today, tmp_path):
    (tmp_path / "status.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"has no config\.yaml: the run was ended before it began"):
        load_saved(tmp_path, today)


# Whom to trust


@pytest.fixture
def forged(option, plain, write, monkeypatch):
    """A run with another environment, beside a module ``evil``; and the file that importing the module writes."""

    def call(name, **settings):
        _, own = option("env", "pettingzoo", entry_point="a:b")
        env = {"option": "pettingzoo", "name": name, "settings": own | settings}
        folder = write(components=plain["components"] | {"env": env})
        (folder / "status.json").write_text("{}")
        (folder / "evil.py").write_text(f"open({str(folder / 'imported')!r}, 'w').close()\n")
        monkeypatch.syspath_prepend(folder)
        return folder, folder / "imported"

    return call


def test_modules_that_a_run_names_are_trusted_if_they_are_named_now_too(today, plain, write):
    game = {"option": "pettingzoo", "name": "elsewhere.games", "settings": {}}
    folder = write(components=plain["components"] | {"env": game})
    with pytest.raises(ConfigError, match=r"config\.yaml uses the module elsewhere\.games, .*: trust=\[elsewhere\]"):
        load_saved(folder, today)
    with pytest.raises(ConfigError, match=r"there is no module 'elsewhere\.games' to import"):  # one step further
        load_saved(folder, replace(today, trust=("elsewhere",)))
    assert "elsewhere" not in sys.modules


def test_nothing_is_trusted_unless_it_is_named(configured, today):
    assert today.trust == ()
    assert configured("env=mpe_tag").trust == ()
    assert configured("trust=[a,b]", "env=pettingzoo", "env.entry_point=c.d:e").trust == ("a", "b", "c")


@pytest.mark.parametrize(
    ("name", "settings", "refused"),
    [
        ("pettingzoo", {"entry_point": "evil:f"}, "uses the module evil,"),
        ("pettingzoo", {"entry_point": "${.install}:f", "install": "evil"}, "holds '${.install}:f', but a run never"),
        ("pettingzoo", {"kwargs": {"x": "${oc.env:HOME}"}}, "holds '${oc.env:HOME}', but a run never"),
        ("pettingzoo", {"kwargs": {"${oc.env:HOME}": 1}}, "holds '${oc.env:HOME}', but a run never"),
        (
            "pettingzoo",
            {"entry_point": "hymarl.envs.adapters.importing:imported", "kwargs": {"module": "evil", "install": None}},
            "uses the module hymarl.envs.adapters.importing,",
        ),
        (
            "pettingzoo",
            {"entry_point": "hymarl.registry:find", "kwargs": {"group": "env", "name": "evil.x"}},
            "uses the module hymarl.registry,",
        ),
        ("hymarl.main", {}, "uses the module hymarl.main,"),
    ],
    ids=str,
)
def test_what_a_forged_run_names_is_neither_imported_nor_resolved(today, forged, name, settings, refused):
    folder, imported = forged(name, **settings)
    with pytest.raises(ConfigError) as caught:
        load_saved(folder, today)
    assert f"config.yaml {refused}" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not imported.exists()


@pytest.mark.parametrize("what", ["resume", "evaluate"])
def test_a_forged_run_is_refused_and_left_as_it_is(hymarl, forged, what):
    folder, _ = forged("pettingzoo", entry_point="${.install}:f", install="evil")
    before = sorted(folder.rglob("*"))
    outcome = hymarl(folder, f"{what}={folder}")
    assert (outcome.code, sorted(folder.rglob("*"))) == (2, before)
    assert "config.yaml holds '${.install}:f', but a run never" in outcome.err
    assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("key", ["algo", "dropped", "option", "logger"])
def test_what_is_written_into_logs_is_one_line(today, plain, write, key):
    text = "x\ntouch y\n#"
    env = {**plain["components"]["env"], "option": text}
    changes = {
        "option": {"components": plain["components"] | {"env": env}},
        "logger": {"loggers": {text: plain["loggers"]["console"]}},
    }.get(key, {key: [text] if isinstance(plain.get(key), list) else text})
    with pytest.raises(ConfigError, match=r"'x\\ntouch y\\n#' must be one line of printable characters"):
        load_saved(write(**changes), today)


@pytest.mark.parametrize("group", ["../../secret", "/etc", "unknown"])
def test_a_group_that_does_not_exist_is_refused_before_anything_is_read_for_it(first, today, group, monkeypatch):
    old = yaml.safe_load((first / "config.yaml").read_text())
    old["components"][group] = old["components"]["env"]
    (first / "config.yaml").write_text(yaml.safe_dump(old))
    monkeypatch.setattr(resources, "files", lambda _: pytest.fail("something was read"))
    with pytest.raises(ConfigError, match=f"unknown key {group}"):
        load_saved(first, today)


# The first release


@pytest.fixture
def first(tmp_path):
    """A run of the first release."""
    return shutil.copytree(FIRST_RELEASE, tmp_path / "first")


def test_a_run_of_the_first_release_is_evaluated(hymarl, first):
    outcome = hymarl(first.parent, "evaluate=first", "hydra.run.dir=again", "eval.references=false")
    assert (outcome.code, outcome.err) == (0, "")
    again, before = (
        [line.split(",") for line in (path / "comparison.csv").read_text().splitlines() if line.startswith("learned,")]
        for path in (first.parent / "again", first)
    )
    assert again == before
    assert f"format: {FORMAT}\n" in (first.parent / "again" / "config.yaml").read_text()


def test_a_run_of_the_first_release_is_begun_from(hymarl, first):
    run = "env=two_step", "logger=[]", "network.hidden_dims=[8]", "network.rnn_dim=8", "train.total_steps=2"
    few = "runner.n_envs=1", "runner.workers=1", "eval.episodes=1", "eval.test_episodes=1", "eval.references=false"
    outcome = hymarl(first.parent, *run, *few, "init_from=first", "hydra.run.dir=new")
    assert (outcome.code, outcome.err) == (0, "")
    assert "weights from " in (first.parent / "new" / "train.log").read_text()


def test_a_run_of_the_first_release_is_not_continued(hymarl, first):
    before = {path: path.read_bytes() for path in first.rglob("*") if path.is_file()}
    outcome = hymarl(first.parent, "resume=first")
    assert (outcome.code, outcome.err) == (
        2,
        "first was made by the first release of HyMARL, whose runs cannot be continued; evaluate it with "
        "evaluate=first, or start a new run from its weights with init_from=first\n",
    )
    assert {path: path.read_bytes() for path in first.rglob("*") if path.is_file()} == before


def test_what_the_first_release_did_not_know_is_as_it_is_today(today):
    old = yaml.safe_load((FIRST_RELEASE / "config.yaml").read_text())
    del old["components"]["runner"]["settings"]["max_failures"], old["components"]["selector"]
    old["train"]["gone"] = old["components"]["learner"]["settings"]["gone"] = 1
    old["components"]["env"] = {
        "option": "mpe_tag",
        "name": "pettingzoo",
        "settings": {"others": {"agent": "hymarl.envs.mpe_opponents:flee"}},
    }
    new, today = from_first_release(old, today.plain()), today.plain()
    assert new["components"]["selector"] == today["components"]["selector"]
    assert new["components"]["runner"]["settings"]["max_failures"] == 10
    for group in ("learner", "mixer"):
        assert set(new["components"][group]["settings"]) == set(today["components"][group]["settings"])
    assert set(new["train"]) == set(today["train"])
    assert new["train"]["total_steps"] == 48
    env = new["components"]["env"]["settings"]
    assert env["others"] == {"agent": "hymarl.envs.adapters.mpe_opponents:flee"}
    assert env["entry_point"] == "mpe2.simple_tag_v3:parallel_env"
    assert "install" in env  # what an option inherits from another
