"""What a user may have outside of the package: an environment, its settings, and games for other interfaces."""
