"""Replay: which episodes are kept, which are learned from, and how often."""
