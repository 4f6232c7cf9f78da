"""A trained policy that acts with NumPy alone: no torch, no configuration, nothing else of this package.

``python main.py export=RUN`` writes one. This folder imports NumPy and Python's standard library only, so it can be
copied to where HyMARL is not installed. A program that drives one agent::

    policy = PortablePolicy.load("my_policy")
    state = policy.initial_state(n_agents=1)
    while running():
        actions, state = policy.act(observe(), available(), state)  # obs [1, O], avail [1, U]
        execute(actions[0])

An exported policy is a list of operations, a dozen simple ones, of which each network of HyMARL says itself which it
consists of. Its numbers are arrays with the names that they have in the weights file.
"""

from .policy import PortableError, PortablePolicy, State

__all__ = ["PortableError", "PortablePolicy", "State"]
