"""Where a spiking network can run. Today: the project's own two simulators (simulators.py)."""
