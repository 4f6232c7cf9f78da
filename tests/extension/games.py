"""Games with PettingZoo's interface for runs with worker processes."""

import os
import signal
from pathlib import Path

from hymarl.envs.adapters.pettingzoo_export import to_pettingzoo
from hymarl.envs.matrix_game import MatrixGame


def climbing(dies_at=None, grave=None, breaks_at=None):
    """The climbing game; at joint action ``dies_at`` its process is killed, once: the file ``grave`` remembers.

    At joint action ``breaks_at`` it raises.
    """
    tables = [[11, -30, 0], [-30, 7, 0], [0, 6, 5]]
    settings = {"payoffs": tables, "next_state": None, "observe_step": True, "individual_rewards": False}
    game = to_pettingzoo(MatrixGame(None, 1, steps=4, **settings))
    play, played = game.step, [0]

    def step(actions):
        played[0] += 1
        if played[0] == dies_at and not Path(grave).exists():
            Path(grave).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if played[0] == breaks_at:
            raise RuntimeError("fell off the wall")
        return play(actions)

    game.step = step
    return game
