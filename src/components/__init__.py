"""The parts every run shares: data types, randomness, devices, memory, files, statistics, the terminal."""
