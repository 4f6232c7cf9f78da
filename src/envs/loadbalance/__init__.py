"""The load-balancing environment: several balancers share servers without seeing each other's traffic."""

from .environment import LoadBalance

__all__ = ["LoadBalance"]
