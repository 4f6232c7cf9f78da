"""What the adapters for environments of other libraries share."""
