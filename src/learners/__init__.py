"""Learners: pure functions for values, targets and losses, and the classes that compose them."""
