"""Real load balancers on one machine: HAProxy processes, servers of limited capacity, traffic, moving weights."""
