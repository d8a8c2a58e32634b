"""What turns samples into outputs: a spiking network, a rate network, and one in the shadow of the other."""
