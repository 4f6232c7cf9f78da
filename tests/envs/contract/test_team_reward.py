"""What a team is paid."""

import numpy as np
import pytest

from hymarl.envs.contract.team_reward import of_team


@pytest.mark.parametrize(
    ("reward", "paid"), [("sum", [3, 12]), ("mean", [1, 4]), ("individual", [[0, 1, 2], [3, 4, 5]])]
)
def test_rewards_of_the_agents_become_the_teams(reward, paid):
    each = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert of_team(each, reward).tolist() == paid
    assert of_team(each[1], reward).tolist() == paid[1]
