"""Environments: the `VectorEnv` contract, native batched environments and adapters."""
