"""Published numbers beside our own: which, by what statistic, and what became of them."""
