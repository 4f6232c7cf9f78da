"""What HyMARL adds to Hydra."""
