"""What environments on a grid share."""
