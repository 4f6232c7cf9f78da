"""Where the numbers of a run go besides its own CSV tables."""
