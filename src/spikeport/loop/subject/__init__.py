"""A simulated subject who moves a cursor by thought alone: it closes the loop around a decoder, without an animal."""
