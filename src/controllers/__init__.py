"""Multi-agent controllers (MACs): agent inputs, parameter sharing, acting and unrolling."""
