"""The agent beside a load balancer that really runs: what it sees, how it decides, what it may change."""
