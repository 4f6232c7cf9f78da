"""What every option of ``algo`` owes: the same bits again, also when killed, a policy that can be used, and a page."""

import re
import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import yaml

import hymarl
from hymarl.app.options import chosen_by, options
from hymarl.policies.base import Policy
from hymarl.registry import find

# No interval divides another or the length of a collection; what only some options have is said of those.
SETTINGS = (
    *("env=chance", "logger=[]", "eval.episodes=2", "eval.test_episodes=2", "eval.references=false", "network=mlp"),
    *("train.total_steps=130", "train.log_interval_steps=20", "train.eval_interval_steps=60"),
    *("train.checkpoint_interval_steps=23", "++when_chosen.network.mlp.hidden_dims=[8]"),
    *("++when_chosen.runner.parallel.n_envs=3", "++when_chosen.replay.uniform.batch_episodes=4"),
    *("++when_chosen.replay.uniform.buffer_episodes=15", "++when_chosen.replay.uniform.updates_per_episode=0.7"),
)
TRUST = "trust=[extension]"  # runs name the extension's game
FAST = ("cw_qmix", "mappo")
WITH_NOISE = (
    *("algo=qmix network.noisy=true", "algo=ow_qmix network.noisy=true", "algo=pqn_vdn network.noisy=true"),
    *("algo=qmix network.noisy=true runner.lag=1", "algo=mappo policy=parameter_noise policy.distance=0.1"),
    *("algo=qmix policy=parameter_noise controller=independent", "algo=qmix policy=parameter_noise runner.lag=2"),
)


@pytest.mark.parametrize(
    "algo",
    [
        *(
            f"algo={name}" if name in FAST else pytest.param(f"algo={name}", marks=pytest.mark.slow)
            for name in options("algo")
        ),
        *(pytest.param(changes, marks=pytest.mark.slow) for changes in WITH_NOISE),
    ],
)
def test_an_algorithm_that_was_killed_is_resumed_exactly_and_evaluated(
    assert_equal_runs, hymarl, extension, monkeypatch, tmp_path, algo
):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import processes

    settings = f"hydra.searchpath=['file://{extension}/conf']", *SETTINGS, *algo.split()
    outcome = hymarl(tmp_path, *settings, "hydra.run.dir=whole")
    assert (outcome.code, outcome.err) == (0, "")
    process = processes.start(
        tmp_path, [*settings, "hydra.run.dir=killed"], {"CHANCE_SIGNAL": "SIGKILL", "CHANCE_AT": "40"}
    )
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "output.txt").read_text()
    outcome = hymarl(tmp_path, "resume=killed", TRUST)
    assert (outcome.code, outcome.err) == (0, "")
    assert_equal_runs(tmp_path / "killed", tmp_path / "whole")
    assert hymarl(tmp_path, "evaluate=whole", TRUST).code == 0
    policy = Policy.load(tmp_path / "whole", trust=["extension"])
    actions, _ = policy.act(np.zeros((policy.spec.n_agents, policy.spec.obs_dim), np.float32))
    assert actions.shape == (policy.spec.n_agents,)


ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(page for page in (ROOT / "docs" / "algorithms").glob("*.md") if page.stem != "q_learning")
SHARED = ROOT / "docs" / "algorithms" / "q_learning.md"
SECTIONS = ["Run it", "How it works", "Columns", "Settings that matter", "Measured", "Limits"]
LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


def sections(page):
    """The text below each heading of the second level, by heading."""
    return dict(part.split("\n", 1) for part in f"\n{page.read_text(encoding='utf-8')}".split("\n## ")[1:])


def first_rows():
    """The row in which the tables of `docs/algorithms.md` first name an option, by its name."""
    lines = (ROOT / "docs" / "algorithms.md").read_text(encoding="utf-8").splitlines()
    rows = [line for line in lines if line.startswith("|")]
    return {name: row for row in reversed(rows) for name in re.findall(r"`(\w+)`", row.split("|")[1])}


def page_name(algo, row):
    """The page to which the algorithm's name in a row is a link."""
    linked = re.search(rf"\[[^]]*`{algo}`[^]]*\]\(algorithms/(\w+\.md)\)", row)
    assert linked is not None, f"docs/algorithms.md has no link to the page of {algo}"
    return linked[1]


def test_every_algorithm_is_documented(monkeypatch):
    """In a table of `docs/algorithms.md`, with the parts that it chooses; on its page, with its learner's columns; and
    in the table of what goes together, which is as `docs/capabilities.py` makes it."""
    told = first_rows()
    for algo in options("algo"):
        assert algo in told, f"docs/algorithms.md has no row for {algo}"
        choices = chosen_by(algo)
        assert f"`{choices['learner']}`" in told[algo]
        assert f"`{choices['mixer']}`" in told[algo] or (choices["mixer"] == "none" and "(none)" in told[algo])
        page = sections(ROOT / "docs" / "algorithms" / page_name(algo, told[algo]))
        assert f"algo={algo}" in page["Run it"]
        assert set(find("learner", choices["learner"]).metric_names) <= set(re.findall(r"`(\w+)`", page["Columns"])), (
            algo
        )
    monkeypatch.syspath_prepend(ROOT / "docs")
    import capabilities

    index = capabilities.PAGE.read_text(encoding="utf-8")
    assert capabilities.filled(index) == index, "run python docs/capabilities.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_page_has_the_same_sections(page):
    assert list(sections(page)) == SECTIONS


def anchors(page):
    """Those that GitHub makes of the headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_links_between_pages_lead_somewhere():
    missing = []
    for page in [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md")]:
        text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        for path, anchor in LINK.findall(text):
            target = (page.parent / path) if path else page
            if "://" not in path and not (target.exists() and (not anchor or anchor in anchors(target))):
                missing.append(f"{page.relative_to(ROOT)}: {path}#{anchor}")
    assert not missing


def commands(page):
    """What the page tells people to type after ``python main.py``."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in re.findall(r"^ {4}python main\.py (.*)$", text, re.MULTILINE)]


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "docs" / "algorithms.md", *PAGES], ids=lambda page: page.stem)
def test_what_pages_tell_people_to_type_is_understood(page):
    assert commands(page)
    for words in commands(page):
        sweep = [re.sub(r"=([^\['{][^,]*),.*", r"=\1", word) for word in words if word != "-m"]  # the first of each
        hymarl.compose(*sweep)


def stated(cell):
    """The values of a cell ``value (`algorithm`: value, ...)`` by algorithm, with that of all others under None."""
    value, _, others = cell.partition(" (")
    named = re.findall(r"`(\w+)`: ((?:\[[^]]*\]|[^,)])+)", others)
    return {name: yaml.safe_load(re.sub(r"(?<=\d),(?=\d{3})", "", text)) for name, text in [(None, value), *named]}


@pytest.mark.slow
@pytest.mark.parametrize("page", [SHARED, *PAGES], ids=lambda page: page.stem)
def test_the_defaults_on_pages_are_those_of_the_algorithms(page):
    rows = re.findall(r"^\| `(\w+)\.(\w+)` \| ([^|]*) \|", sections(page)["Settings that matter"], re.MULTILINE)
    told = first_rows()
    algorithms = [algo for algo in options("algo") if page_name(algo, told[algo]) == page.name] or ["qmix"]
    for algo in set(algorithms) - {"qmix_pymarl2", "qmix_epymarl"}:  # whose values have a table of their own
        components = hymarl.compose(f"algo={algo}", "env=two_step").components
        for group, key, cell in rows:
            values = stated(cell)
            assert components[group].settings[key] == values.get(algo, values[None]), f"{algo}: {group}.{key}"
