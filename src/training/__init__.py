"""The training loop and what it leaves behind: collecting, evaluating, recording, checkpoints."""
