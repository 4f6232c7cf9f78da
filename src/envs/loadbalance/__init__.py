"""The load-balancing environment: several balancers share servers without seeing each other's traffic."""
