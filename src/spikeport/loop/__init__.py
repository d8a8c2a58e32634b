"""A network in real time: sources, clock, decoder, guard, recorder."""
