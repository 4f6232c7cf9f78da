"""Neural networks: tensors in, tensors out; no configuration, no batch, no logger."""
