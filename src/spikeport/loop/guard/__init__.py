"""The guard between decoder and stimulator: typed commands, limits, states, a watchdog in another process."""
