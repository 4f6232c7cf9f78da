"""Settings that every test needs."""

import torch

# One thread per process: the suite runs several processes, and small tensors only get slower with more.
torch.set_num_threads(1)
