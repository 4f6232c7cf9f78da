"""The parts every run shares: data types, randomness, replay, the training loop, checkpoints, loggers."""
