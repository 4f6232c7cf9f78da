"""Conditions over configurations."""

import pytest

from hymarl.reports.selection import condition

CONFIGS = (
    {"seed": 1, "mixer": "qmix", "learner.gamma": 0.9, "agents": 2, "joint": False, "cpus": (1, 2)},
    {"seed": 2, "mixer": "vdn", "learner.gamma": 0.99, "agents": 4, "joint": True},
    {"seed": 3, "learner.gamma": 0.99, "agents": None, "joint": False},
)
KEYS = {key for config in CONFIGS for key in config}


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("seed<3", [1, 2]),
        ("1 < seed <= 3", [2, 3]),
        ("mixer==qmix", [1]),
        ("mixer == 'qmix' or learner.gamma>=0.99", [1, 2, 3]),
        ("mixer in [qmix, vdn] and not joint", [1]),
        ("mixer not in ('qmix',)", [2, 3]),
        ("joint==true", [2]),
        ("joint", [2]),
        ("mixer==null", [3]),
        ("agents>2", [2]),  # what a run does not have is neither above nor below
        ("learner.gamma != 0.9 and seed > -1", [2, 3]),
        ("2 in cpus", None),
    ],
)
def test_which_runs_fulfill_a_condition(text, seeds):
    if seeds is None:
        assert condition(text, KEYS)(CONFIGS[0])
    else:
        assert [config["seed"] for config in CONFIGS if condition(text, KEYS)(config)] == seeds


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("seed<", "is no condition"),
        ("mixr==qmix", "no run has the key 'mixr'; did you mean 'mixer'"),
        ("learner.gama>0.9", "did you mean 'learner.gamma'"),
        ("1<2", "compares no key"),
        ("seed is 1", "is no comparison"),
        ("seed+1==2", "compares no key"),
        ("seed==agents+1", "is no value"),
        ("__import__('os').system('touch x')", "is no condition"),
        ("seed==__import__('os').getpid()", "is no value"),
        ("mixer[0]=='q'", "compares no key"),
        ("seed in {[1]:2}", "is no value"),
        ("(" * 500 + "seed" + ")" * 500, "is no condition"),
        ("seed<1 and " * 1000 + "seed<1", "is no condition"),
        ("lambda: seed", "is no condition"),
        ("", "is no condition"),
    ],
)
def test_whatever_is_no_condition_gets_a_sentence(text, answer):
    with pytest.raises(ValueError, match=r"report\.where=") as error:
        condition(text, KEYS)
    assert answer in str(error.value)


def test_text_is_not_compared_with_numbers():
    with pytest.raises(ValueError, match="compares things of different kinds"):
        condition("mixer<4", KEYS)(CONFIGS[0])
