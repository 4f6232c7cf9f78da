"""``reproduce.…``: the tier of seconds, what is kept, and what the program says and answers."""

import re
from dataclasses import replace

import pytest

from hymarl.reproduce.tasks import load


@pytest.mark.timeout(600)
def test_the_tier_of_seconds_holds_and_is_kept(hymarl, tmp_path, monkeypatch):
    outcome = hymarl(tmp_path, "reproduce.tier=seconds", "reproduce.jobs=1")
    assert (outcome.code, outcome.err) == (0, "")
    folder = tmp_path / "results" / "reproduce"
    text = (folder / "report-seconds" / "report.md").read_text()
    assert "## Verdicts" in text
    assert text.count("| reproduced") > 15
    assert re.search(r"\d+ rows: \d+ reproduced", text)
    assert "not re" not in text.partition("## What the verdicts mean")[0]
    page = (folder / "report-seconds" / "report.html").read_text()
    assert page.count("class='badge good'") > 30
    assert "<script src" not in page
    assert "python main.py reproduce.tier=seconds reproduce.jobs=1" in page
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*.csv")}
    again = hymarl(tmp_path, "reproduce.task=[penalty,two_step]", "reproduce.jobs=2")
    assert (again.code, again.err) == (0, "")
    assert "5 of 5 runs were kept from earlier calls" in again.out
    assert {p: p.stat().st_mtime_ns for p in before} == before
    one = hymarl(tmp_path, "reproduce.task=[penalty,two_step]", "reproduce.methods=qmix", "reproduce.jobs=1")
    assert (one.code, one.err) == (0, "")
    assert "2 of 2 runs were kept" in one.out
    assert "Only qmix: 4 rows that need other methods are left out." in one.out
    table = (folder / "report-penalty-two_step-qmix" / "report.md").read_text().partition("## What the verdicts")[0]
    assert ("qmix: " in table, "vdn: " in table, "not run" in table) == (True, False, False)
    monkeypatch.setattr("hymarl.app.reproduction.load", lambda name: with_another_reference(load(name)))
    wrong = hymarl(tmp_path, "reproduce.task=penalty", "reproduce.jobs=1")
    assert wrong.code == 1
    assert wrong.err == "2 of the rows that should hold do not: penalty (vdn, return); penalty (qmix, return)\n"
    assert wrong.out.count("not reproduced") == 2


def with_another_reference(task):
    return replace(task, rows=tuple(replace(row, value=3.0) for row in task.rows))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["reproduce.seeds=[1]"],
            "reproduce: give a tier or a task: reproduce.tier=seconds, or reproduce.task=",
        ),
        (["reproduce.tier=seconds", "reproduce.task=two_step"], "reproduce: give a tier or a task"),
        (["reproduce.task=two_stp"], "reproduce.task=two_stp: there is no such task; did you mean 'two_step'?"),
        (["reproduce.task=a,b"], "reproduce.task=a,b: give a list: reproduce.task=[a,b]"),
        (["reproduce.tier=second"], "reproduce: tier=second is not a choice; did you mean 'seconds'?"),
        (
            ["reproduce.task=penalty", "reproduce.methods=[qmx]"],
            "reproduce.methods: there is no 'qmx' in what is reproduced; did you mean 'qmix'?",
        ),
        (["reproduce.task=penalty", "reproduce.methods=qmix,vdn"], "reproduce.methods=qmix,vdn: give a list"),
        (
            ["reproduce.task=[penalty,queueing]", "reproduce.methods=[qmix]"],
            "reproduce.methods: no row of queueing is about qmix alone",
        ),
        (["reproduce.tier=seconds", "reproduce.jobs=0"], "reproduce.jobs=0: give a whole number from 1"),
        (["reproduce.tier=seconds", "seed=2"], "reproduce runs what each task says; leave out seed"),
    ],
)
def test_a_mistake_gets_a_sentence_and_leaves_nothing(hymarl, tmp_path, words, sentence):
    outcome = hymarl(tmp_path, *words)
    assert outcome.code == 2
    assert outcome.err.startswith(sentence)
    assert outcome.err.count("\n") == 1
    assert not any(tmp_path.iterdir())
