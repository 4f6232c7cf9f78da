"""Action selectors: from the scores of available actions to a choice."""
