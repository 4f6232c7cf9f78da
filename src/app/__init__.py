"""From what was typed to what runs: a configuration is checked and built, a run trained, evaluated or inspected."""
