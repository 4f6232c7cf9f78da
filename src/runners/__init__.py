"""Runners play episodes and hand them over as batches; they log nothing."""
