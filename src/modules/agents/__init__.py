"""Agent networks, from one agent's input to the scores of its actions."""
