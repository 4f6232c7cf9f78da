"""Optimizers with typed settings; each is called with the parameters to optimize."""
