"""Policies: learned ones and scripted ones, all played by the same runners."""
