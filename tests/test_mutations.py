"""Whatever a user types, the answer is one clear sentence that leaves nothing behind, or a run that works."""

from pathlib import Path
from types import SimpleNamespace

import pytest

SEED = 5
SEED_FAST, N_FAST = 8, 16  # every kind that can be wrong is among them; the slow ones play a thousand
N_SHARDS, SIZE = 20, 50


@pytest.fixture
def folder(monkeypatch):
    """Makes the modules beside this file, and the environments in ``extension``, known by their names."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


@pytest.fixture
def answers(folder):
    import answers

    return answers


@pytest.fixture
def mutations(folder):
    import mutations

    return mutations


@pytest.mark.parametrize("number", range(N_FAST))
def test_what_cannot_be_meant_is_refused_in_a_clear_sentence(hymarl, mutations, answers, tmp_path, number):
    wrong = mutations.wrong_case(SEED_FAST, number)
    answer = answers.answer(hymarl, tmp_path, wrong)
    assert not answer.faults, str(answer)


@pytest.mark.slow
def test_the_command_lines_that_are_mutated_run_as_they_are(mutations, answers):
    cases = [mutations.Case("none", base, ()) for base in mutations.bases()]
    assert [(answer.outcome, answer.faults) for answer in answers.play(cases)] == [("ran", ())] * len(cases)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("shard", range(N_SHARDS))
def test_whatever_is_typed_gets_a_clear_sentence_or_a_run_that_works(mutations, answers, shard):
    """``python tests/mutations.py 1000 5`` shows the same in a table."""
    cases = [mutations.case(SEED, number) for number in range(shard * SIZE, (shard + 1) * SIZE)]
    given = list(answers.play(cases))
    bad = [answer for answer in given if answer.faults]
    assert not bad, "\n\n".join(map(str, bad))
    assert [answer.case for answer in given] == cases
    assert {"refused", "ran"} <= {answer.outcome for answer in given}


# What is wrong with an answer is noticed


GOOD = "seed: 'x' is no number"


@pytest.mark.parametrize(
    ("code", "sentence", "fault"),
    [
        (2, GOOD, None),
        (2, "", "says nothing"),
        (2, f"{GOOD}\nusage: main.py", "several lines"),
        (2, f"{GOOD} {'a, ' * 500}", "very long"),
        (2, "this is no number", "does not say where"),
        (2, f"{GOOD}: ValueError('x')", "says 'Error('"),
        (2, f"{GOOD}: [Errno 2] x", "says 'Errno'"),
        (2, f"{GOOD} of ListConfig", "says 'ListConfig'"),
        (2, "unknown key 'seed'; did you mean 'seed'? choose one", "did you mean the same"),
        (1, GOOD, "exit code 1"),
        (130, "", "exit code 130"),
        (130, "", "nothing for long"),
        (2, "Traceback (most recent call last):\nKeyError: 'seed'", "traceback of KeyError"),
        (0, "", "accepted"),
        (0, "", "ran without a result"),
    ],
)
def test_a_bad_answer_is_noticed(mutations, answers, tmp_path, code, sentence, fault):
    seed = "1000000" if fault == "nothing for long" else "x"
    case = mutations.Case("root setting", (f"seed={seed}",), ("seed", seed), wrong=True)
    outcome = SimpleNamespace(code=code, err=f"{sentence}\n", out="")
    faults = answers.answer(lambda *_: outcome, tmp_path, case).faults
    assert fault in faults if fault else not faults


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("status.json", '{"status": "running"}', "not finished"),
        ("metrics.csv", "step,loss\n1\n", "metrics.csv is ragged"),
        ("evaluations.csv", "step,return\n", "evaluations.csv without returns"),
        ("evaluations.csv", "step,return\n1,nan\n", "evaluations.csv without returns"),
        ("status.json", '{"status": "finished"}', None),
    ],
)
def test_a_run_that_ended_badly_is_noticed(mutations, answers, tmp_path, name, text, fault):
    good = {"status.json": '{"status": "finished"}', "metrics.csv": "step\n1\n", "evaluations.csv": "return\n1\n"}

    def run(directory, *_):
        for file, content in (good | {name: text}).items():
            (directory / file).write_text(content)
        return SimpleNamespace(code=0, err="", out="")

    case = mutations.Case("root setting", ("seed=1",), ("seed",))
    assert answers.answer(run, tmp_path, case).faults == ((fault,) if fault else ())


@pytest.mark.parametrize("path", ["../results/x", ".hydra", "own/mine.yaml"])
def test_what_a_refusal_leaves_behind_is_noticed(mutations, answers, tmp_path, path):
    def refuse(directory, *_):
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text("changed")
        return SimpleNamespace(code=2, err=GOOD, out="")

    case = mutations.Case("root setting", ("seed=x",), ("seed",), files={"own/mine.yaml": b"name: x"})
    assert [fault.partition(" here")[0] for fault in answers.answer(refuse, tmp_path, case).faults] == [
        "left behind results" if "results" in path else "left behind"
    ]


@pytest.mark.slow
def test_cases_are_the_same_for_a_seed_and_touch_every_section(mutations):
    cases = [mutations.case(3, number) for number in range(400)]
    assert cases == [mutations.case(3, number) for number in range(400)]
    said = " ".join(argument for case in cases for argument in case.arguments)
    assert [group for group in mutations.options() if f"{group}." not in said and f"{group}=" not in said] == []
    assert {case.wrong for case in cases} == {case.endless for case in cases} == {True, False}
