"""Mixers, from the agents' chosen values to the joint value."""
